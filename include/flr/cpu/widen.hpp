// Float copies of bf16 arrays, for the kernels that are written for float and double only.
#pragma once

#include "flr/cpu/fill.hpp"

FLR_CPU_BEGIN

/// A float array in place of a strided bf16 one of up to four axes: contiguous, except that an axis
/// of stride 0 keeps it and is stored once. Null where the original is null.
class Widened {
 public:
  using Four = const index_t (&)[4];

  /// `read` copies the contents; without it they are left uninitialised.
  Widened(const bf16* x, Four extents, Four strides, bool read = true)
      : size_(compact(extents, strides)), buffer_(x ? size_ : 0) {
    if (x && read)
      for_rows([&](index_t i, index_t offset, index_t n) {
        if (from_[3] == 1) return convert_run(x + offset, buffer_.data() + i, n);
        for (index_t j = 0; j < n; ++j)
          buffer_[i + j] = static_cast<float>(x[offset + j * from_[3]]);
      });
  }
  /// The same for n contiguous elements.
  explicit Widened(const bf16* x, index_t n, bool read = true)
      : Widened(x, {1, 1, 1, n}, {0, 0, 0, 1}, read) {}

  float* data() const { return buffer_.data(); }
  index_t stride(int axis) const { return to_[axis]; }

  /// Writes or adds the contents to a bf16 array with the original's strides, unless it is null.
  void narrow(bf16* y, bool accumulate = false) const {
    if (y && data())
      for_rows([&](index_t i, index_t offset, index_t n) {
        for (index_t j = 0; j < n; j = from_[3] == 1 ? n : j + 1)
          store_run(data() + i + j, y + offset + j * from_[3], from_[3] == 1 ? n : 1, accumulate);
      });
  }

 private:
  /// Sets the extents to copy and the strides of the copy; returns its size.
  index_t compact(Four extents, Four strides) {
    index_t size = 1;
    for (int a = 3; a >= 0; --a) {
      extent_[a] = strides[a] == 0 ? smaller(extents[a], 1) : extents[a];
      from_[a] = strides[a];
      to_[a] = strides[a] == 0 ? 0 : size;
      size *= extent_[a];
    }
    return size;
  }

  /// Calls visit(position in the copy, offset in the original, length) for runs of the last axis.
  template <class Visit>
  void for_rows(Visit&& visit) const {
    const index_t n = extent_[3], pieces = ceil_div(n, chunk_elements);
    if (size_ == 0) return;
    parallel_ranges(size_ / n * pieces, larger(1, chunk_elements / n),
                    [&](index_t begin, index_t end) {
                      for (index_t item = begin; item < end; ++item) {
                        index_t row = item / pieces, offset = 0;
                        const index_t j = item % pieces * chunk_elements;
                        const index_t position = row * n + j;
                        for (int a = 2; a >= 0; --a)
                          offset += row % extent_[a] * from_[a], row /= extent_[a];
                        visit(position, offset + j * from_[3], smaller(chunk_elements, n - j));
                      }
                    });
  }

  index_t extent_[4], from_[4], to_[4], size_;
  flr::detail::Scratch<float> buffer_;
};

FLR_CPU_END
