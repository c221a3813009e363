#include <limits>
#include <optional>

#include "flr/data/deflate.hpp"
#include "flr/data/elements.hpp"
#include "flr/data/mat5.hpp"

namespace flr::data {

namespace {

constexpr std::uint32_t type_int8 = 1, type_int32 = 5, type_uint32 = 6, type_matrix = 14,
                        type_compressed = 15;
constexpr std::size_t name_limit = 63;

struct Code {
  std::uint32_t mat_class, storage;
};

Code code_of(ElementType type, const std::string& name) {
  switch (type) {
    case ElementType::f64: return {6, 9};
    case ElementType::f32: return {7, 7};
    case ElementType::i8: return {8, 1};
    case ElementType::u8: return {9, 2};
    case ElementType::i16: return {10, 3};
    case ElementType::u16: return {11, 4};
    case ElementType::i32: return {12, 5};
    case ElementType::u32: return {13, 6};
    case ElementType::i64: return {14, 12};
    case ElementType::u64: return {15, 13};
    case ElementType::boolean: return {9 | 0x200, 2};  // uint8 with the logical flag
    case ElementType::bf16: break;
  }
  fail("[mat] '{}': MATLAB has no bfloat16; convert to float32 first", name);
}

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

void check_name(const std::string& name) {
  bool good = !name.empty() && name.size() <= name_limit && is_letter(name[0]);
  for (char c : name) good = good && (is_letter(c) || (c >= '0' && c <= '9') || c == '_');
  check(good, "[mat] '{}' is not a MATLAB name: a letter, then at most 62 letters, digits, _",
        name);
}

std::size_t padding(std::uint64_t size) {
  return static_cast<std::size_t>((8 - size % 8) % 8);
}

// Elements of one to four bytes go inside their tag, as MATLAB writes them.
bool is_small(std::uint64_t size) {
  return size >= 1 && size <= 4;
}

std::string tag(std::uint32_t type, std::uint64_t size) {
  std::string bytes;
  if (is_small(size)) {
    append_le(bytes, static_cast<std::uint32_t>(size << 16 | type));
  } else {
    append_le(bytes, type);
    append_le(bytes, static_cast<std::uint32_t>(size));
  }
  return bytes;
}

std::string pad(std::uint64_t size) {
  return std::string(is_small(size) ? 4 - size : padding(size), '\0');
}

std::string element(std::uint32_t type, const std::string& data) {
  return tag(type, data.size()) + data + pad(data.size());
}

// Everything of a miMATRIX element in front of its numbers; its own tag comes first.
std::string matrix_header(const std::string& name, const Array& array) {
  const Code code = code_of(array.type(), name);
  std::vector<std::int64_t> extents = array.shape();
  while (extents.size() < 2) extents.insert(extents.begin(), 1);
  std::string flags, dimensions;
  append_le(flags, code.mat_class);
  append_le(flags, std::uint32_t{0});
  for (std::int64_t extent : extents) {
    check(extent <= std::numeric_limits<std::int32_t>::max(),
          "[mat] '{}': the format takes extents below 2³¹; got {}", name, extent);
    append_le(dimensions, static_cast<std::int32_t>(extent));
  }
  const std::uint64_t bytes = array.bytes().size();
  const std::string parts = element(type_uint32, flags) + element(type_int32, dimensions) +
                            element(type_int8, name) + tag(code.storage, bytes);
  const std::uint64_t total = parts.size() + bytes + pad(bytes).size();
  check(total <= std::numeric_limits<std::uint32_t>::max(),
        "[mat] '{}': the format takes variables below 4 GiB; got {} bytes", name, bytes);
  std::string start;
  append_le(start, type_matrix);
  append_le(start, static_cast<std::uint32_t>(total));
  return start + parts;
}

void write_variable(Sink& sink, const std::string& name, const Array& array, bool compressed) {
  const std::uint64_t at = sink.position();
  std::optional<DeflateWriter> deflate;
  std::string outer;
  if (compressed) {
    append_le(outer, type_compressed);
    append_le(outer, std::uint32_t{0});
    sink.write(outer);
    deflate.emplace(sink, DeflateForm::zlib);
  }
  const auto put = [&](std::span<const std::byte> bytes) {
    if (deflate)
      deflate->write(bytes);
    else
      sink.write(bytes);
  };
  const auto put_text = [&](const std::string& text) {
    put(std::as_bytes(std::span(text.data(), text.size())));
  };
  put_text(matrix_header(name, array));
  write_elements(put, array, true);
  put_text(pad(array.bytes().size()));
  if (!deflate) return;
  deflate->finish();
  const std::uint64_t length = sink.position() - at - outer.size();
  check(length <= std::numeric_limits<std::uint32_t>::max(),
        "[mat] '{}': the format takes variables below 4 GiB; got {} bytes", name, length);
  std::string length_bytes;
  append_le(length_bytes, static_cast<std::uint32_t>(length));
  sink.overwrite(at + 4, std::as_bytes(std::span(length_bytes.data(), length_bytes.size())));
}

}  // namespace

void write_mat5(const std::filesystem::path& path, const std::map<std::string, Array>& arrays,
                MatForm form) {
  for (const auto& [name, array] : arrays) check_name(name);
  atomic_write(path, [&](Sink& sink) {
    std::string header = "MATLAB 5.0 MAT-file, written by flr";
    header.resize(116, ' ');
    header.append(8, '\0');  // no subsystem data
    append_le(header, std::uint16_t{0x0100});
    header += "IM";
    sink.write(header);
    for (const auto& [name, array] : arrays)
      write_variable(sink, name, array, form == MatForm::compressed);
  });
}

}  // namespace flr::data
