// What norms over the last axis ask of a backend (ops/norm.hpp).
#pragma once

#include "flr/core/params.hpp"

namespace flr {

/// Layer norm (`rms` false) or RMS norm over the last axis:
/// y = (x − mean)·rstd·w + b, or x·rstd·w. w and b may be null; mean is not written for RMS norm.
/// With `add` or `add_rows` the norm is of sum = (x + add) + add_rows, rounded to T after each addition.
template <class T>
struct NormParams {
  index_t rows = 0, cols = 0;
  bool rms = false;
  compute_t<T> eps = 0;
  const T* x = nullptr;
  const compute_t<T>*w = nullptr, *b = nullptr;
  T* y = nullptr;
  compute_t<T>*mean = nullptr, *rstd = nullptr;  ///< [rows], saved for backward; may be null
  const T *add = nullptr, *add_rows = nullptr;   ///< [rows,cols], and [period,cols] again and again; may be null
  index_t period = 0;
  T* sum = nullptr;  ///< [rows,cols], written where there is something to add
};

/// Gradients of NormParams, whose x is the sum where there was something to add.
template <class T>
struct NormBackwardParams {
  index_t rows = 0, cols = 0;
  bool rms = false;
  const T *x = nullptr, *dy = nullptr;
  const compute_t<T>*w = nullptr, *mean = nullptr, *rstd = nullptr;
  T* dx = nullptr;
  compute_t<T>*dw = nullptr, *db = nullptr;
  GradMode dx_mode = GradMode::ignore, dw_mode = GradMode::ignore, db_mode = GradMode::ignore;
};

}  // namespace flr
