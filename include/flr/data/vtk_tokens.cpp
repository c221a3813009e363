#include "flr/data/vtk_tokens.hpp"

#include <algorithm>
#include <charconv>
#include <map>

#include "flr/data/elements.hpp"

namespace flr::data {

namespace {

constexpr std::size_t block_size = 1 << 16, max_word = 256, max_line = 4096;

bool is_space(int c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

template <class T>
void put(T value, ElementType from, ElementType to, std::byte* out) {
  convert_elements(from, std::as_bytes(std::span(&value, 1)).data(), to, out, 1);
}

}  // namespace

std::string VtkTokens::line() {
  std::string text;
  for (int c = take(); c != '\n' && c >= 0; c = take()) {
    check(text.size() < max_line, "[vtk] {} is damaged: a line is too long", name());
    text += static_cast<char>(c);
  }
  if (text.ends_with('\r')) text.pop_back();
  return text;
}

std::string VtkTokens::word() {
  while (is_space(peek())) take();
  std::string text;
  while (peek() >= 0 && !is_space(peek())) {
    check(text.size() < max_word, "[vtk] {} is damaged: a word is too long", name());
    text += static_cast<char>(take());
  }
  return text;
}

bool VtkTokens::more_on_line() {
  while (peek() == ' ' || peek() == '\t' || peek() == '\r') take();
  return peek() >= 0 && peek() != '\n';
}

std::int64_t VtkTokens::count() {
  const auto value = number<std::int64_t>();
  check(value >= 0, "[vtk] {} is damaged: expected a count; got {}", name(), value);
  return value;
}

ElementType VtkTokens::type() {
  using enum ElementType;
  // Files say vtkIdType and hold 32-bit numbers, whatever VTK itself was built with.
  static const std::map<std::string, ElementType> types = {
      {"float", f32},       {"double", f64},         {"char", i8},       {"unsigned_char", u8},
      {"short", i16},       {"unsigned_short", u16}, {"int", i32},       {"unsigned_int", u32},
      {"long", i64},        {"unsigned_long", u64},  {"vtkIdType", i32}, {"vtktypeint64", i64},
      {"vtktypeint32", i32}};
  const std::string text = word();
  const auto found = types.find(text);
  check(found != types.end(), "[vtk] {}: numbers of type '{:.40}' are not read", name(), text);
  return found->second;
}

template <class T>
T VtkTokens::number() {
  const std::string text = word();
  check(!text.empty(), "[vtk] {} is truncated: expected a number; got the end of the file", name());
  T value{};
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  check(error == std::errc{} && stop == end, "[vtk] {} is damaged: expected a number; got '{:.40}'",
        name(), text);
  return value;
}

Array VtkTokens::numbers(ElementType type, std::vector<std::int64_t> shape) {
  const std::int64_t n = ArrayInfo{type, shape}.numel(name());
  if (binary) {
    line();  // the bytes start on the next line
    SourceStream rest(source_, position(), source_.size() - position());
    Array array = read_elements(rest, {type, false, true}, type, std::move(shape));
    seek(position() + array.bytes().size());
    return array;
  }
  // A number takes at least a digit and a space.
  const std::uint64_t left = source_.size() - position();
  check(static_cast<std::uint64_t>(n) <= left / 2 + 1,
        "[vtk] {} is truncated or damaged: expected {} numbers; {} bytes follow", name(), n, left);
  Array array = Array::uninitialized(type, std::move(shape));
  const bool real = type == ElementType::f32 || type == ElementType::f64;
  const auto size = static_cast<std::size_t>(size_of(type));
  for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) {
    std::byte* out = array.bytes().data() + i * size;
    if (real)
      put(number<double>(), ElementType::f64, type, out);
    else
      put(number<std::int64_t>(), ElementType::i64, type, out);
  }
  return array;
}

void VtkTokens::seek(std::uint64_t position) {
  block_.clear();
  block_start_ = position;
  at_ = 0;
}

int VtkTokens::peek() {
  if (at_ == block_.size()) {
    const std::uint64_t next = position();
    const auto n = std::min<std::uint64_t>(block_size, source_.size() - next);
    seek(next);
    block_.resize(static_cast<std::size_t>(n));
    source_.read(next, block_);
    if (block_.empty()) return -1;
  }
  return static_cast<unsigned char>(block_[at_]);
}

int VtkTokens::take() {
  const int c = peek();
  if (c >= 0) ++at_;
  return c;
}

}  // namespace flr::data
