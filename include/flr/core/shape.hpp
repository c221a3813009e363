// Shapes and strides: up to eight 64-bit extents, held inline.
#pragma once

#include <fmt/core.h>

#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "flr/core/error.hpp"

namespace flr {

using index_t = std::int64_t;

/// The largest number of axes a tensor can have.
inline constexpr int max_rank = 8;

/// A short list of 64-bit numbers, used for shapes and for strides (in elements). Negative
/// positions count from the end, as in NumPy.
class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<index_t> extents) { assign(extents.begin(), extents.end()); }
  explicit Shape(const std::vector<index_t>& extents) { assign(extents.begin(), extents.end()); }

  int rank() const { return rank_; }
  bool empty() const { return rank_ == 0; }

  index_t& operator[](int axis) { return extents_[position(axis)]; }
  index_t operator[](int axis) const { return extents_[position(axis)]; }

  const index_t* begin() const { return extents_; }
  const index_t* end() const { return extents_ + rank_; }
  index_t* begin() { return extents_; }
  index_t* end() { return extents_ + rank_; }

  void push_back(index_t extent) {
    check(rank_ < max_rank, "[shape] at most {} axes are supported", max_rank);
    extents_[rank_++] = extent;
  }
  void insert(int axis, index_t extent) {
    push_back(0);
    for (int i = rank_ - 1; i > axis; --i) extents_[i] = extents_[i - 1];
    extents_[axis] = extent;
  }
  void erase(int axis) {
    for (int i = axis; i + 1 < rank_; ++i) extents_[i] = extents_[i + 1];
    --rank_;
  }

  /// The number of elements; 1 for a scalar.
  index_t numel() const {
    index_t n = 1;
    for (index_t extent : *this) n *= extent;
    return n;
  }

  bool operator==(const Shape& other) const {
    if (rank_ != other.rank_) return false;
    for (int i = 0; i < rank_; ++i)
      if (extents_[i] != other.extents_[i]) return false;
    return true;
  }

  /// Turns an axis that may be negative into one in [0, rank).
  int axis(int axis, const char* operation) const {
    if (axis < -rank_ || axis >= rank_) [[unlikely]]
      fail("[{}] axis {} does not exist in shape {}", operation, axis, str());
    return axis < 0 ? axis + rank_ : axis;
  }

  std::string str() const {
    std::string text = "[";
    for (int i = 0; i < rank_; ++i) {
      if (i) text += ',';
      text += std::to_string(extents_[i]);
    }
    text += ']';
    return text;
  }

 private:
  template <class It>
  void assign(It first, It last) {
    for (; first != last; ++first) push_back(*first);
  }
  int position(int axis) const {
    const int i = axis < 0 ? axis + rank_ : axis;
    // Not check(): its arguments are evaluated, and printing the shape on every access is dear.
    if (i < 0 || i >= rank_) [[unlikely]]
      fail("[shape] axis {} does not exist in shape {}", axis, str());
    return i;
  }

  index_t extents_[max_rank] = {};
  int rank_ = 0;
};

/// Row-major strides, in elements.
inline Shape contiguous_strides(const Shape& shape) {
  Shape strides = shape;
  index_t step = 1;
  for (int i = shape.rank() - 1; i >= 0; --i) {
    strides[i] = step;
    step *= shape[i];
  }
  return strides;
}

/// The shape that NumPy's broadcasting rules give to two operands.
inline Shape broadcast_shapes(const Shape& a, const Shape& b, const char* operation) {
  const int rank = a.rank() > b.rank() ? a.rank() : b.rank();
  Shape result;
  for (int i = 0; i < rank; ++i) result.push_back(1);
  for (int i = 1; i <= rank; ++i) {
    const index_t x = i <= a.rank() ? a[-i] : 1;
    const index_t y = i <= b.rank() ? b[-i] : 1;
    if (x != y && x != 1 && y != 1) [[unlikely]]
      fail("[{}] shapes {} and {} do not broadcast", operation, a.str(), b.str());
    result[-i] = x == 1 ? y : x;
  }
  return result;
}

}  // namespace flr

// Not derived from the formatter of strings: its definition is in fmt/format.h, which costs every
// user of a shape a second of compilation.
template <>
struct fmt::formatter<flr::Shape> {
  constexpr auto parse(fmt::format_parse_context& context) { return context.begin(); }
  template <class Context>
  auto format(const flr::Shape& shape, Context& context) const {
    return fmt::format_to(context.out(), "{}", shape.str());
  }
};
