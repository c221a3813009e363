#include "flr/data/array.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace flr::data {

namespace {

template <class F>
decltype(auto) with_type(ElementType type, F&& f) {
  switch (type) {
    case ElementType::f32: return f(std::type_identity<float>{});
    case ElementType::f64: return f(std::type_identity<double>{});
    case ElementType::bf16: return f(std::type_identity<bf16>{});
    case ElementType::i8: return f(std::type_identity<std::int8_t>{});
    case ElementType::u8: return f(std::type_identity<std::uint8_t>{});
    case ElementType::i16: return f(std::type_identity<std::int16_t>{});
    case ElementType::u16: return f(std::type_identity<std::uint16_t>{});
    case ElementType::i32: return f(std::type_identity<std::int32_t>{});
    case ElementType::u32: return f(std::type_identity<std::uint32_t>{});
    case ElementType::i64: return f(std::type_identity<std::int64_t>{});
    case ElementType::u64: return f(std::type_identity<std::uint64_t>{});
    case ElementType::boolean: break;
  }
  return f(std::type_identity<std::uint8_t>{});
}

// bf16 computes as float, everything else as itself.
template <class T>
auto plain(T value) {
  if constexpr (std::is_same_v<T, bf16>)
    return static_cast<float>(value);
  else
    return value;
}

template <class To, class From>
bool convert_one(From value, To& result) {
  if constexpr (std::is_same_v<To, bf16>) {
    const float narrow = static_cast<float>(value);
    result = bf16(narrow);
    return std::isfinite(static_cast<float>(result)) || !std::isfinite(double(value));
  } else if constexpr (std::is_floating_point_v<To>) {
    result = static_cast<To>(value);
    if constexpr (std::is_floating_point_v<From> && sizeof(To) < sizeof(From))
      return std::isfinite(result) || !std::isfinite(value);
    return true;
  } else if constexpr (std::is_floating_point_v<From>) {
    // max + 1 is a power of two, so it is exact in From even where max is not.
    const From limit = std::ldexp(From{1}, std::numeric_limits<To>::digits);
    const From least = std::is_signed_v<To> ? -limit : From{0};
    if (!(value >= least && value < limit) || std::trunc(value) != value) return false;
    result = static_cast<To>(value);
    return true;
  } else {
    if (!std::in_range<To>(value)) return false;
    result = static_cast<To>(value);
    return true;
  }
}

}  // namespace

const char* name_of(ElementType type) {
  switch (type) {
    case ElementType::f32: return "float32";
    case ElementType::f64: return "float64";
    case ElementType::bf16: return "bfloat16";
    case ElementType::i8: return "int8";
    case ElementType::u8: return "uint8";
    case ElementType::i16: return "int16";
    case ElementType::u16: return "uint16";
    case ElementType::i32: return "int32";
    case ElementType::u32: return "uint32";
    case ElementType::i64: return "int64";
    case ElementType::u64: return "uint64";
    case ElementType::boolean: return "bool";
  }
  return "?";
}

std::int64_t size_of(ElementType type) {
  return with_type(type, [](auto id) { return std::int64_t{sizeof(typename decltype(id)::type)}; });
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i ? "," : "") + std::to_string(shape[i]);
  return text + "]";
}

std::int64_t ArrayInfo::numel(const std::string& where) const {
  check(shape.size() <= max_array_rank, "[{}] expected at most {} axes; got {}", where,
        max_array_rank, shape.size());
  // A zero extent must not hide an overflow of the others: strides are products too.
  std::int64_t product = 1;
  bool empty = false;
  for (std::int64_t extent : shape) {
    check(extent >= 0, "[{}] expected extents of at least 0; got {}", where, shape_text(shape));
    if (extent == 0)
      empty = true;
    else
      check(!__builtin_mul_overflow(product, extent, &product),
            "[{}] shape {} has more elements than a 64-bit number counts", where,
            shape_text(shape));
  }
  return empty ? 0 : product;
}

std::int64_t ArrayInfo::byte_size(const std::string& where) const {
  std::int64_t bytes = 0;
  check(!__builtin_mul_overflow(numel(where), size_of(type), &bytes),
        "[{}] {} {} has more bytes than a 64-bit number counts", where, name_of(type),
        shape_text(shape));
  return bytes;
}

void convert_elements(ElementType from, const std::byte* in, ElementType to, std::byte* out,
                      std::int64_t n) {
  if (n == 0) return;
  if (from == to) {
    std::memcpy(out, in, static_cast<std::size_t>(n * size_of(to)));
    return;
  }
  with_type(from, [&](auto from_id) {
    using From = typename decltype(from_id)::type;
    with_type(to, [&](auto to_id) {
      using To = typename decltype(to_id)::type;
      for (std::int64_t i = 0; i < n; ++i) {
        From stored;
        std::memcpy(&stored, in + i * std::int64_t{sizeof(From)}, sizeof(From));
        const auto value = plain(stored);
        if (to == ElementType::boolean) {
          out[i] = std::byte{value != 0};
          continue;
        }
        To result{};
        check(convert_one(value, result), "[array] element {} is {}; {} cannot hold it", i, value,
              name_of(to));
        std::memcpy(out + i * std::int64_t{sizeof(To)}, &result, sizeof(To));
      }
    });
  });
}

float half_to_float(std::uint16_t bits) {
  const int exponent = (bits >> 10) & 31;
  const auto mantissa = static_cast<float>(bits & 1023);
  float magnitude = 0;
  if (exponent == 31)
    magnitude = mantissa == 0 ? std::numeric_limits<float>::infinity()
                              : std::numeric_limits<float>::quiet_NaN();
  else if (exponent == 0)
    magnitude = std::ldexp(mantissa, -24);
  else
    magnitude = std::ldexp(mantissa + 1024, exponent - 25);
  return bits & 0x8000 ? -magnitude : magnitude;
}

Array Array::uninitialized(ElementType type, std::vector<std::int64_t> shape) {
  Array array;
  array.info_ = {type, std::move(shape)};
  array.numel_ = array.info_.numel("array");
  const std::int64_t bytes = array.info_.byte_size("array");
  try {
    array.storage_.resize(static_cast<std::size_t>(bytes));
  } catch (const std::exception&) {
    fail("[array] {} {} needs {} bytes of memory, more than there are", name_of(type),
         shape_text(array.info_.shape), bytes);
  }
  return array;
}

Array::Array(ElementType type, std::vector<std::int64_t> shape)
    : Array(uninitialized(type, std::move(shape))) {
  std::fill(storage_.begin(), storage_.end(), std::byte{0});
}

std::int64_t Array::extent(int axis) const {
  const int position = axis < 0 ? axis + rank() : axis;
  check(position >= 0 && position < rank(), "[array] axis {} does not exist in shape {}", axis,
        shape_text(shape()));
  return shape()[static_cast<std::size_t>(position)];
}

Array Array::convert(ElementType to) const {
  Array result = uninitialized(to, shape());
  convert_elements(type(), storage_.data(), to, result.storage_.data(), numel_);
  return result;
}

Array Array::reshaped(std::vector<std::int64_t> shape) && {
  ArrayInfo info{type(), std::move(shape)};
  check(info.numel("array") == numel_, "[array] {} does not reshape to {}", shape_text(info_.shape),
        shape_text(info.shape));
  info_ = std::move(info);
  return std::move(*this);
}

Array Array::reshaped(std::vector<std::int64_t> shape) const& {
  return Array(*this).reshaped(std::move(shape));
}

Array Array::rows(std::int64_t begin, std::int64_t end) const {
  check(rank() > 0 && 0 <= begin && begin <= end && end <= shape()[0],
        "[array] rows {} to {} do not exist in shape {}", begin, end, shape_text(shape()));
  std::vector<std::int64_t> shape = info_.shape;
  shape[0] = end - begin;
  Array result = uninitialized(type(), std::move(shape));
  if (result.numel_ == 0) return result;
  const auto row = static_cast<std::int64_t>(storage_.size()) / info_.shape[0];
  std::copy(storage_.begin() + begin * row, storage_.begin() + end * row, result.storage_.begin());
  return result;
}

bool Array::operator==(const Array& other) const {
  return type() == other.type() && shape() == other.shape() && storage_ == other.storage_;
}

void Array::require(ElementType wanted) const {
  check(type() == wanted || (type() == ElementType::boolean && wanted == ElementType::u8),
        "[array] expected {} elements; got {}", name_of(wanted), name_of(type()));
}

}  // namespace flr::data
