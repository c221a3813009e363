// Where the gradients of the backward pass are collected, and the order in which parts are added.
#pragma once

#include "flr/cpu/attention_problem.hpp"

FLR_CPU_BEGIN
namespace attention {

/// Rows of a gradient as a task sees them: write, or add to what is there.
template <class T>
struct GradientRows {
  T* data = nullptr;
  index_t stride = 0;
  bool add = false;
  GradientRows from(index_t row) const { return {data + row * stride, stride, add}; }
  void put(index_t row, const T* x, index_t width, T factor) const {
    T* const y = data + row * stride;
    if (add)
      for (index_t d = 0; d < width; ++d) y[d] += factor * x[d];
    else
      for (index_t d = 0; d < width; ++d) y[d] = factor * x[d];
  }
};

/// One of dq, dk, dv. A task writes it directly if the task alone makes those rows; otherwise into
/// a part of its own, and parts are added in order of batch, head and part when all are there.
template <class T>
class Gradient {
 public:
  /// `parts` tasks contribute to a row of a head; `rows` rows are collected at a time.
  Gradient(const SdpaParams<T>& p, T* to, const HeadStrides& s, GradMode mode, index_t rows,
           index_t width, index_t parts)
      : to_(to),
        s_(s),
        mode_(mode),
        B_(p.B),
        H_(p.H),
        rows_(rows),
        width_(width),
        parts_(parts),
        shared_b_(p.B != 1 && s.batch == 0),
        shared_h_(p.H != 1 && s.head == 0),
        direct_(parts == 1 && !shared_b_ && !shared_h_),
        memory_(wanted() && !direct_ ? p.B * p.H * parts * rows * width : 0) {}

  bool wanted() const { return mode_ != GradMode::ignore; }

  /// Rows from `row` on of head (b, h), of which `begin` is the first that is being collected.
  /// `add`: an earlier call wrote them.
  GradientRows<T> rows(index_t b, index_t h, index_t part, index_t begin, index_t row,
                       bool add) const {
    if (direct_)
      return {head(to_, s_, b, h) + row * s_.row, s_.row, add || mode_ == GradMode::accumulate};
    const index_t index = ((b * H_ + h) * parts_ + part) * rows_ + row - begin;
    return {memory_.data() + index * width_, width_, add};
  }

  /// Adds the parts of rows [begin, begin + count) into their places.
  void collect(index_t begin, index_t count) const {
    if (!wanted() || direct_) return;
    constexpr index_t grain = 256;
    const index_t chunks = ceil_div(count, grain), heads = shared_h_ ? 1 : H_;
    parallel_for((shared_b_ ? 1 : B_) * heads * chunks, [&](index_t task) {
      const index_t first = task % chunks * grain, place = task / chunks;
      const index_t b0 = place / heads, h0 = place % heads;
      const index_t b1 = shared_b_ ? B_ : b0 + 1, h1 = shared_h_ ? H_ : h0 + 1;
      const index_t n = std::min(grain, count - first);
      T* const y = head(to_, s_, b0, h0) + (begin + first) * s_.row;
      bool add = mode_ == GradMode::accumulate;
      if (!add && (b0 == b1 || h0 == h1))
        for (index_t r = 0; r < n; ++r) std::fill_n(y + r * s_.row, width_, T(0));
      for (index_t b = b0; b < b1; ++b)
        for (index_t h = h0; h < h1; ++h)
          for (index_t part = 0; part < parts_; ++part, add = true) {
            const GradientRows<T> from = rows(b, h, part, begin, begin + first, false);
            const GradientRows<T> into{y, s_.row, add};
            for (index_t r = 0; r < n; ++r) into.put(r, from.data + r * width_, width_, T(1));
          }
    });
  }

 private:
  T* to_;
  HeadStrides s_;
  GradMode mode_;
  index_t B_, H_, rows_, width_, parts_;
  bool shared_b_, shared_h_, direct_;
  detail::Scratch<T> memory_;  ///< [B][H][part][row][width]
};

}  // namespace attention
FLR_CPU_END
