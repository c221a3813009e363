#include "flr/data/npy.hpp"

#include <array>
#include <charconv>
#include <optional>

#include "flr/data/elements.hpp"

namespace flr::data {

namespace {

// Far more than any header of a numeric array takes.
constexpr std::uint32_t max_header = 1u << 16;

struct Header {
  StoredElement stored;
  bool fortran_order = false;
  std::vector<std::int64_t> shape;
};

// The header is a Python dictionary of three known entries; nothing else is accepted.
class HeaderParser {
 public:
  HeaderParser(std::string_view text, const std::string& name) : text_(text), name_(name) {}

  Header parse() {
    std::optional<std::string> descr;
    std::optional<bool> fortran;
    std::optional<std::vector<std::int64_t>> shape;
    expect('{');
    while (!accept('}')) {
      const std::string key = string();
      expect(':');
      if (key == "descr" && !descr) {
        check(!accept('['), "[npy] {} is a structured array; only numeric arrays are read", name_);
        descr = string();
      } else if (key == "fortran_order" && !fortran) {
        fortran = boolean();
      } else if (key == "shape" && !shape) {
        shape = tuple();
      } else {
        fail("[npy] {} has a damaged header: unexpected or repeated key '{}'", name_, key);
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    skip_space();
    check(text_.empty(), "[npy] {} has a damaged header: text after the dictionary", name_);
    check(descr && fortran && shape,
          "[npy] {} has a damaged header: expected 'descr', 'fortran_order' and 'shape'", name_);
    return {element(*descr), *fortran, std::move(*shape)};
  }

 private:
  void skip_space() {
    while (!text_.empty() && (text_[0] == ' ' || text_[0] == '\n')) text_.remove_prefix(1);
  }
  bool accept(char c) {
    skip_space();
    if (text_.empty() || text_[0] != c) return false;
    text_.remove_prefix(1);
    return true;
  }
  void expect(char c) {
    check(accept(c), "[npy] {} has a damaged header: expected '{}' before '{}'", name_, c,
          text_.substr(0, 20));
  }
  std::string string() {
    const char quote = accept('"') ? '"' : '\'';
    if (quote == '\'') expect('\'');
    const std::size_t end = text_.find(quote);
    check(end != text_.npos, "[npy] {} has a damaged header: a string does not end", name_);
    std::string value(text_.substr(0, end));
    text_.remove_prefix(end + 1);
    return value;
  }
  bool boolean() {
    skip_space();
    for (const std::string_view word : {"True", "False"})
      if (text_.starts_with(word)) {
        text_.remove_prefix(word.size());
        return word == "True";
      }
    fail("[npy] {} has a damaged header: expected True or False", name_);
  }
  std::vector<std::int64_t> tuple() {
    std::vector<std::int64_t> values;
    expect('(');
    while (!accept(')')) {
      skip_space();
      std::int64_t value = 0;
      const auto [end, error] = std::from_chars(text_.data(), text_.data() + text_.size(), value);
      check(error == std::errc{} && value >= 0 && values.size() < max_array_rank,
            "[npy] {} has a damaged header: expected at most {} extents of 0 … 2⁶³−1 before '{}'",
            name_, max_array_rank, text_.substr(0, 20));
      text_.remove_prefix(static_cast<std::size_t>(end - text_.data()));
      accept('L');  // Python 2 wrote long integers so
      values.push_back(value);
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
    return values;
  }

  StoredElement element(std::string_view descr) const {
    check(descr.size() < 2 || descr[1] != 'O',
          "[npy] {} holds Python objects; only numeric arrays are read", name_);
    const bool big_endian = descr.starts_with('>');
    if (!descr.empty() && std::string_view("<>|=").find(descr[0]) != descr.npos)
      descr.remove_prefix(1);
    using enum ElementType;
    static constexpr std::pair<std::string_view, ElementType> types[] = {
        {"f4", f32}, {"f8", f64}, {"i1", i8},  {"u1", u8},  {"i2", i16},     {"u2", u16},
        {"i4", i32}, {"u4", u32}, {"i8", i64}, {"u8", u64}, {"b1", boolean}, {"?", boolean}};
    for (const auto& [code, type] : types)
      if (descr == code) return {type, false, big_endian};
    if (descr == "f2") return {f32, true, big_endian};
    fail("[npy] {} holds elements of type '{}'; only bool, integer and real arrays are read", name_,
         descr);
  }

  std::string_view text_;
  const std::string& name_;
};

Header read_header(Stream& stream) {
  static constexpr std::string_view magic = "\x93NUMPY";
  std::array<std::byte, 8> start;
  check(stream.remaining() >= start.size() + 2, "[npy] {} is not a .npy file: it has {} bytes",
        stream.name(), stream.remaining());
  stream.read(start);
  for (std::size_t i = 0; i < magic.size(); ++i)
    check(start[i] == static_cast<std::byte>(magic[i]),
          "[npy] {} is not a .npy file: it does not start with \\x93NUMPY", stream.name());
  const auto version = static_cast<unsigned>(start[6]);
  check(version >= 1 && version <= 3, "[npy] {} has version {}; 1, 2 and 3 are read", stream.name(),
        version);
  std::array<std::byte, 4> length_bytes{};
  stream.read(std::span(length_bytes).first(version == 1 ? 2 : 4));
  const auto length = load_le<std::uint32_t>(length_bytes);
  check(length <= max_header && length <= stream.remaining(),
        "[npy] {} is damaged: its header claims {} bytes; {} follow", stream.name(), length,
        stream.remaining());
  std::string text(length, '\0');
  stream.read(std::as_writable_bytes(std::span(text.data(), text.size())));
  return HeaderParser(text, stream.name()).parse();
}

std::string_view descr_of(ElementType type) {
  switch (type) {
    case ElementType::f32: return "<f4";
    case ElementType::f64: return "<f8";
    case ElementType::i8: return "|i1";
    case ElementType::u8: return "|u1";
    case ElementType::i16: return "<i2";
    case ElementType::u16: return "<u2";
    case ElementType::i32: return "<i4";
    case ElementType::u32: return "<u4";
    case ElementType::i64: return "<i8";
    case ElementType::u64: return "<u8";
    case ElementType::boolean: return "|b1";
    case ElementType::bf16: break;
  }
  fail("[npy] the format has no bfloat16; convert to float32 first");
}

}  // namespace

Array read_npy(Stream& stream) {
  Header header = read_header(stream);
  Array array = read_elements(stream, header.stored, header.stored.type, std::move(header.shape),
                              header.fortran_order);
  check(stream.remaining() == 0, "[npy] {} is damaged: {} bytes follow the declared {}",
        stream.name(), stream.remaining(), shape_text(array.shape()));
  return array;
}

Array read_npy(const std::filesystem::path& path) {
  const Source source(path);
  SourceStream stream(source);
  return read_npy(stream);
}

Array parse_npy(std::span<const std::byte> bytes, const std::string& name) {
  const Source source(bytes, name);
  SourceStream stream(source);
  return read_npy(stream);
}

ArrayInfo inspect_npy(Stream& stream) {
  Header header = read_header(stream);
  return {header.stored.type, std::move(header.shape)};
}

ArrayInfo inspect_npy(const std::filesystem::path& path) {
  const Source source(path);
  SourceStream stream(source);
  return inspect_npy(stream);
}

std::string npy_header(const ArrayInfo& info) {
  std::string shape;
  for (std::int64_t extent : info.shape) shape += std::to_string(extent) + ", ";
  if (info.shape.size() > 1)
    shape.resize(shape.size() - 2);
  else if (info.shape.size() == 1)
    shape.resize(shape.size() - 1);
  std::string text = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}",
                                 descr_of(info.type), shape);
  // Elements start at a multiple of 64, so that they can be mapped into memory aligned.
  constexpr std::size_t before = 10, alignment = 64;
  text.append(alignment - 1 - (before + text.size()) % alignment, ' ');
  text += '\n';
  std::string header("\x93NUMPY\x01\x00", 8);
  append_le(header, static_cast<std::uint16_t>(text.size()));
  return header + text;
}

void write_npy(const std::filesystem::path& path, const Array& array) {
  const std::string header = npy_header(array.info());
  atomic_write(path, [&](Sink& sink) {
    sink.write(header);
    write_elements(sink, array);
  });
}

}  // namespace flr::data
