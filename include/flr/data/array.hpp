// What a file holds: an n-dimensional array of one element type, in row-major order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "flr/core/error.hpp"
#include "flr/core/scalar.hpp"

namespace flr::data {

/// Element types that files hold; wider than what tensors compute with. `boolean` is one byte, 0
/// or 1.
enum class ElementType : std::uint8_t {
  f32,
  f64,
  bf16,
  i8,
  u8,
  i16,
  u16,
  i32,
  u32,
  i64,
  u64,
  boolean
};

const char* name_of(ElementType type);
std::int64_t size_of(ElementType type);  ///< in bytes

template <class T>
constexpr ElementType element_type_of() {
  if constexpr (std::is_same_v<T, float>)
    return ElementType::f32;
  else if constexpr (std::is_same_v<T, double>)
    return ElementType::f64;
  else if constexpr (std::is_same_v<T, bf16>)
    return ElementType::bf16;
  else if constexpr (std::is_same_v<T, std::int8_t>)
    return ElementType::i8;
  else if constexpr (std::is_same_v<T, std::uint8_t>)
    return ElementType::u8;
  else if constexpr (std::is_same_v<T, std::int16_t>)
    return ElementType::i16;
  else if constexpr (std::is_same_v<T, std::uint16_t>)
    return ElementType::u16;
  else if constexpr (std::is_same_v<T, std::int32_t>)
    return ElementType::i32;
  else if constexpr (std::is_same_v<T, std::uint32_t>)
    return ElementType::u32;
  else if constexpr (std::is_same_v<T, std::int64_t>)
    return ElementType::i64;
  else {
    static_assert(std::is_same_v<T, std::uint64_t>, "not an element type of a file");
    return ElementType::u64;
  }
}

/// The most axes an array can have; NumPy's limit for most of its life.
inline constexpr std::size_t max_array_rank = 32;

/// "[2,3]".
std::string shape_text(const std::vector<std::int64_t>& shape);

/// Element type and extents of an array that need not be in memory.
struct ArrayInfo {
  ElementType type = ElementType::f32;
  std::vector<std::int64_t> shape;

  /// Bytes of the elements. Refuses negative extents, more than max_array_rank axes, and products
  /// beyond 2⁶³ − 1; `where` starts the message.
  std::int64_t numel(const std::string& where) const;
  std::int64_t byte_size(const std::string& where) const;
};

/// Converts n elements, checked: an integer must hold the value exactly, a float must not overflow
/// (rounding is fine). `boolean` takes any non-zero value as 1. Refusals name the first element.
void convert_elements(ElementType from, const std::byte* in, ElementType to, std::byte* out,
                      std::int64_t n);

/// IEEE half precision to float, exact.
float half_to_float(std::uint16_t bits);

/// A value type: copies copy the elements.
class Array {
 public:
  /// An empty float array of shape [0].
  Array() = default;

  /// All zeros.
  Array(ElementType type, std::vector<std::int64_t> shape);

  /// Takes `values` in row-major order; their number must be the product of the extents.
  template <class T>
  Array(const std::vector<T>& values, std::vector<std::int64_t> shape)
      : Array(uninitialized(element_type_of<T>(), std::move(shape))) {
    check(static_cast<std::int64_t>(values.size()) == numel_,
          "[array] shape {} needs {} values; got {}", shape_text(info_.shape), numel_,
          values.size());
    std::copy(values.begin(), values.end(), mutable_as<T>().begin());
  }

  /// For readers that fill every byte. Refuses what does not fit into memory.
  static Array uninitialized(ElementType type, std::vector<std::int64_t> shape);

  ElementType type() const { return info_.type; }
  const std::vector<std::int64_t>& shape() const { return info_.shape; }
  const ArrayInfo& info() const { return info_; }
  int rank() const { return static_cast<int>(info_.shape.size()); }
  std::int64_t numel() const { return numel_; }

  /// The extent of one axis; negative axes count from the end.
  std::int64_t extent(int axis) const;

  std::span<const std::byte> bytes() const { return storage_; }
  std::span<std::byte> bytes() { return storage_; }

  /// The elements as they are stored; T must be their type (uint8_t also for boolean).
  template <class T>
  std::span<const T> as() const {
    require(element_type_of<T>());
    return {reinterpret_cast<const T*>(storage_.data()), static_cast<std::size_t>(numel_)};
  }
  template <class T>
  std::span<T> mutable_as() {
    require(element_type_of<T>());
    return {reinterpret_cast<T*>(storage_.data()), static_cast<std::size_t>(numel_)};
  }

  /// The elements as T, converted and checked as convert_elements does.
  template <class T>
  std::vector<T> convert() const {
    std::vector<T> values(static_cast<std::size_t>(numel_));
    convert_elements(type(), storage_.data(), element_type_of<T>(),
                     reinterpret_cast<std::byte*>(values.data()), numel_);
    return values;
  }
  Array convert(ElementType to) const;

  /// The same elements under other extents with the same product.
  Array reshaped(std::vector<std::int64_t> shape) const&;
  Array reshaped(std::vector<std::int64_t> shape) &&;

  /// A copy of rows [begin, end) of the first axis.
  Array rows(std::int64_t begin, std::int64_t end) const;

  /// The same type, extents and bytes (so NaN equals itself).
  bool operator==(const Array& other) const;

 private:
  /// Leaves bytes uninitialised: a gigabyte that a reader is about to fill need not be zeroed.
  struct Uninitialised : std::allocator<std::byte> {
    template <class U>
    struct rebind {
      using other = Uninitialised;
    };
    template <class U, class... Args>
    void construct(U* at, Args&&... args) {
      if constexpr (sizeof...(Args) == 0)
        ::new (static_cast<void*>(at)) U;
      else
        ::new (static_cast<void*>(at)) U(std::forward<Args>(args)...);
    }
  };

  void require(ElementType type) const;

  ArrayInfo info_{ElementType::f32, {0}};
  std::int64_t numel_ = 0;
  std::vector<std::byte, Uninitialised> storage_;
};

}  // namespace flr::data
