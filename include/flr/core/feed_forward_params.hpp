// What the transformer's feed-forward layer asks of a backend (ops/feed_forward.hpp).
#pragma once

#include "flr/core/params.hpp"

namespace flr {

/// y = w2 act(w1 x + b1) + b2 for rows x [rows,channels]; w1 [hidden,channels], b1 [hidden],
/// w2 [channels,hidden], b2 [channels], y [rows,channels]; all contiguous.
template <class T>
struct FeedForwardParams {
  index_t rows = 0, channels = 0, hidden = 0;
  Activation act = Activation::gelu;
  const T* x = nullptr;
  const T *w1 = nullptr, *b1 = nullptr, *w2 = nullptr, *b2 = nullptr;
  T* y = nullptr;
};

/// Gradients of FeedForwardParams; `f` repeats the forward call without its result.
template <class T>
struct FeedForwardBackwardParams {
  FeedForwardParams<T> f;
  const T* dy = nullptr;
  T* dx = nullptr;
  compute_t<T>*dw1 = nullptr, *db1 = nullptr, *dw2 = nullptr, *db2 = nullptr;
  GradMode dx_mode = GradMode::ignore, dw1_mode = GradMode::ignore, db1_mode = GradMode::ignore;
  GradMode dw2_mode = GradMode::ignore, db2_mode = GradMode::ignore;
};

}  // namespace flr
