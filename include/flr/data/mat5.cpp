#include "flr/data/mat5.hpp"

#include <algorithm>
#include <array>

#include "flr/data/deflate.hpp"
#include "flr/data/elements.hpp"

namespace flr::data {

namespace {

constexpr std::uint32_t type_matrix = 14, type_compressed = 15;
constexpr std::uint64_t header_size = 128, max_name = 4096;

// A data element's tag. Elements of at most four bytes may carry their data inside the tag.
struct Tag {
  std::uint32_t type = 0, length = 0;
  bool small = false;
  std::array<std::byte, 4> data{};
};

template <class T>
T load(std::span<const std::byte> bytes, bool big_endian, std::size_t offset = 0) {
  std::array<std::byte, sizeof(T)> word;
  std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(offset), sizeof(T), word.begin());
  if (big_endian) std::reverse(word.begin(), word.end());
  return load_le<T>(word);
}

Tag read_tag(Stream& stream, bool big_endian) {
  std::array<std::byte, 8> bytes;
  stream.read(bytes);
  Tag tag;
  tag.type = load<std::uint32_t>(bytes, big_endian);
  tag.length = load<std::uint32_t>(bytes, big_endian, 4);
  if (tag.type >> 16) {
    tag.small = true;
    tag.length = tag.type >> 16;
    tag.type &= 0xffff;
    check(tag.length <= 4, "[mat] {} is damaged: a small element claims {} bytes", stream.name(),
          tag.length);
    std::copy(bytes.begin() + 4, bytes.end(), tag.data.begin());
  }
  return tag;
}

// The data of an element that must be short, and the padding behind it.
std::vector<std::byte> read_short(Stream& stream, bool big_endian, std::uint32_t type,
                                  std::uint64_t limit) {
  const Tag tag = read_tag(stream, big_endian);
  check(tag.type == type && tag.length <= limit && (tag.small || tag.length <= stream.remaining()),
        "[mat] {} is damaged: expected an element of type {} and at most {} bytes; got type {}, {} "
        "bytes",
        stream.name(), type, limit, tag.type, tag.length);
  std::vector<std::byte> bytes(tag.length);
  if (tag.small) {
    std::copy_n(tag.data.begin(), tag.length, bytes.begin());
  } else {
    stream.read(bytes);
    stream.skip((8 - tag.length % 8) % 8);
  }
  return bytes;
}

std::optional<ElementType> element_of_class(unsigned mat_class) {
  using enum ElementType;
  static constexpr ElementType types[] = {f64, f32, i8, u8, i16, u16, i32, u32, i64, u64};
  if (mat_class < 6 || mat_class > 15) return std::nullopt;
  return types[mat_class - 6];
}

std::optional<ElementType> element_of_storage(std::uint32_t type) {
  using enum ElementType;
  switch (type) {
    case 1: return i8;
    case 2: return u8;
    case 3: return i16;
    case 4: return u16;
    case 5: return i32;
    case 6: return u32;
    case 7: return f32;
    case 9: return f64;
    case 12: return i64;
    case 13: return u64;
    default: return std::nullopt;
  }
}

const char* kind_of_class(unsigned mat_class) {
  static constexpr const char* kinds[] = {
      "unknown", "cell",   "struct",          "object", "char",   "sparse", "double",
      "single",  "int8",   "uint8",           "int16",  "uint16", "int32",  "uint32",
      "int64",   "uint64", "function_handle", "opaque"};
  return mat_class < std::size(kinds) ? kinds[mat_class] : kinds[0];
}

// Flags, extents and name: everything in front of the elements.
MatVariable read_matrix_header(Stream& stream, bool big_endian) {
  const auto flag_bytes = read_short(stream, big_endian, 6, 8);
  check(flag_bytes.size() == 8, "[mat] {} is damaged: expected 8 bytes of array flags; got {}",
        stream.name(), flag_bytes.size());
  const auto flags = load<std::uint32_t>(flag_bytes, big_endian);
  const unsigned mat_class = flags & 0xff;
  MatVariable variable;
  variable.kind = kind_of_class(mat_class);
  constexpr unsigned opaque = 17;  // has no extents
  if (mat_class != opaque) {
    const auto extents = read_short(stream, big_endian, 5, 4 * max_array_rank);
    check(extents.size() >= 8 && extents.size() % 4 == 0,
          "[mat] {} is damaged: expected at least two extents; got {} bytes of them", stream.name(),
          extents.size());
    for (std::size_t i = 0; i < extents.size(); i += 4)
      variable.info.shape.push_back(
          static_cast<std::int32_t>(load<std::uint32_t>(extents, big_endian, i)));
  }
  const auto name = read_short(stream, big_endian, 1, max_name);
  variable.name.assign(reinterpret_cast<const char*>(name.data()), name.size());
  variable.complex = flags & 0x800;
  if (const auto type = element_of_class(mat_class)) {
    variable.readable = !variable.complex;
    variable.info.type = *type;
    if (flags & 0x200) {
      variable.kind = "logical";
      variable.info.type = ElementType::boolean;
    }
    variable.info.numel(stream.name());
  }
  return variable;
}

// Opens the miMATRIX element of a place and gives `use` a stream of its contents.
template <class Use>
auto with_matrix(const Source& source, std::uint64_t offset, std::uint64_t length, bool compressed,
                 bool big_endian, Use&& use) {
  SourceStream stream(source, offset, length);
  if (!compressed) return use(stream, [] {});
  InflateStream inflated(stream, DeflateForm::zlib);
  const Tag tag = read_tag(inflated, big_endian);
  check(tag.type == type_matrix && !tag.small,
        "[mat] {} is damaged: expected an array in a compressed element; got type {}",
        source.name(), tag.type);
  LimitedStream matrix(inflated, tag.length);
  return use(matrix, [&] { inflated.finish(); });
}

void check_header(const Source& source, bool& big_endian) {
  static constexpr std::string_view convert =
      "is a MATLAB 7.3 file (HDF5), which is not read; convert it with MATLAB's "
      "save(name, '-v7', …), or with Python's h5py to .npz";
  std::array<std::byte, header_size> header;
  const auto hdf5_at = [&](std::uint64_t offset) {
    static constexpr std::string_view signature = "\x89HDF\r\n\x1a\n";
    std::array<std::byte, 8> bytes;
    if (source.size() < offset + bytes.size()) return false;
    source.read(offset, bytes);
    return std::equal(bytes.begin(), bytes.end(), signature.begin(),
                      [](std::byte a, char b) { return a == static_cast<std::byte>(b); });
  };
  check(!hdf5_at(0) && !hdf5_at(512), "[mat] {} {}", source.name(), convert);
  check(source.size() >= header_size, "[mat] {} is not a MATLAB 5 file: it has {} bytes",
        source.name(), source.size());
  source.read(0, header);
  const char first = static_cast<char>(header[126]), second = static_cast<char>(header[127]);
  big_endian = first == 'M' && second == 'I';
  check(big_endian || (first == 'I' && second == 'M'),
        "[mat] {} is not a MATLAB 5 file: it has no byte-order mark", source.name());
  const auto version = load<std::uint16_t>(header, big_endian, 124);
  check(version != 0x0200, "[mat] {} {}", source.name(), convert);
  check(version == 0x0100, "[mat] {} has version {:#06x}; 0x0100 (version 5) is read",
        source.name(), version);
}

}  // namespace

MatFile::MatFile(const Source& source) : source_(source) {
  check_header(source_, big_endian_);
  for (std::uint64_t offset = header_size; offset < source_.size();) {
    SourceStream rest(source_, offset, source_.size() - offset);
    const Tag tag = read_tag(rest, big_endian_);
    check(!tag.small && tag.length <= rest.remaining(),
          "[mat] {} is truncated: the element at offset {} needs {} bytes; {} follow",
          source_.name(), offset, tag.length, rest.remaining());
    const bool compressed = tag.type == type_compressed;
    check(compressed || tag.type == type_matrix,
          "[mat] {} is damaged: expected an array at offset {}; got an element of type {}",
          source_.name(), offset, tag.type);
    offset += 8;
    MatVariable variable = with_matrix(
        source_, offset, tag.length, compressed, big_endian_,
        [&](Stream& stream, auto&&) { return read_matrix_header(stream, big_endian_); });
    // Compressed elements follow one another without padding. An array without a name is MATLAB's
    // own bookkeeping.
    if (!variable.name.empty()) {
      check(!contains(variable.name), "[mat] {} has two variables named '{}'", source_.name(),
            variable.name);
      variables_.push_back(std::move(variable));
      places_.push_back({offset, tag.length, compressed});
    }
    offset += compressed ? tag.length : (std::uint64_t{tag.length} + 7) / 8 * 8;
  }
}

bool MatFile::contains(const std::string& name) const {
  return std::any_of(variables_.begin(), variables_.end(),
                     [&](const MatVariable& variable) { return variable.name == name; });
}

const MatVariable& MatFile::find(const std::string& name, Place& place) const {
  std::string names;
  for (std::size_t i = 0; i < variables_.size(); ++i) {
    if (variables_[i].name == name) {
      place = places_[i];
      return variables_[i];
    }
    names += (i ? ", " : "") + variables_[i].name;
  }
  fail("[mat] {} has no variable '{}'; it has: {}", source_.name(), name, names);
}

Array MatFile::read(const std::string& name, std::optional<ElementType> as) const {
  Place place;
  const MatVariable& variable = find(name, place);
  check(variable.readable,
        "[mat] {}: variable '{}' is {}{}; real numeric and logical arrays are read", source_.name(),
        name, variable.complex ? "complex " : "", variable.kind);
  const Source named = source_.renamed(source_.name() + ":" + name);
  return with_matrix(
      named, place.offset, place.length, place.compressed, big_endian_,
      [&](Stream& stream, auto&& finish) {
        read_matrix_header(stream, big_endian_);
        const Tag tag = read_tag(stream, big_endian_);
        const auto stored_type = element_of_storage(tag.type);
        check(stored_type.has_value(), "[mat] {} is damaged: its elements have type {}",
              stream.name(), tag.type);
        const StoredElement stored{*stored_type, false, big_endian_};
        check((variable.info.numel(name) == 0 && tag.length == 0) ||
                  tag.length / stored.size() == variable.info.numel(name),
              "[mat] {} is damaged: {} needs {} elements; {} bytes of {} follow", stream.name(),
              shape_text(variable.info.shape), variable.info.numel(name), tag.length,
              name_of(*stored_type));
        const ElementType to = as.value_or(variable.info.type);
        if (tag.small) {
          const Source inside(tag.data, stream.name());
          SourceStream data(inside, 0, tag.length);
          Array array = read_elements(data, stored, to, variable.info.shape, true);
          finish();
          return array;
        }
        LimitedStream data(stream, tag.length);
        Array array = read_elements(data, stored, to, variable.info.shape, true);
        check(data.remaining() == 0, "[mat] {} is damaged: {} bytes follow its elements",
              stream.name(), data.remaining());
        stream.skip(std::min<std::uint64_t>(stream.remaining(), (8 - tag.length % 8) % 8));
        check(stream.remaining() == 0, "[mat] {} is damaged: {} bytes follow its elements",
              stream.name(), stream.remaining());
        finish();
        return array;
      });
}

std::map<std::string, Array> parse_mat5(std::span<const std::byte> bytes, const std::string& name) {
  const MatFile file(Source(bytes, name));
  std::map<std::string, Array> arrays;
  for (const MatVariable& variable : file.variables())
    if (variable.readable) arrays.emplace(variable.name, file.read(variable.name));
  return arrays;
}

}  // namespace flr::data
