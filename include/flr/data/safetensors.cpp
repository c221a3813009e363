#include "flr/data/safetensors.hpp"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "flr/data/safetensors_header.hpp"

namespace flr::data {

namespace {

constexpr std::uint64_t length_size = 8;
constexpr std::uint64_t max_header = 100'000'000;  // as the reference implementation has it

SafeTensorsHeader read_header(const Source& source, std::uint64_t& data_begin) {
  std::array<std::byte, length_size> length_bytes;
  check(source.size() >= length_size, "[safetensors] {} is truncated: it has {} bytes",
        source.name(), source.size());
  source.read(0, length_bytes);
  const auto length = load_le<std::uint64_t>(length_bytes);
  check(length <= max_header && length <= source.size() - length_size,
        "[safetensors] {} is truncated or damaged: its header claims {} bytes; {} follow",
        source.name(), length, source.size() - length_size);
  std::string text(static_cast<std::size_t>(length), '\0');
  source.read(length_size, std::as_writable_bytes(std::span(text.data(), text.size())));
  check(text.starts_with('{'), "[safetensors] {} is damaged: its header does not start with '{{'",
        source.name());
  data_begin = length_size + length;
  return parse_safetensors_header(text, source.name(), source.size() - data_begin);
}

SafeTensors read(const Source& source) {
  std::uint64_t data_begin = 0;
  SafeTensorsHeader header = read_header(source, data_begin);
  SafeTensors content;
  content.metadata = std::move(header.metadata);
  for (auto& [name, tensor] : header.tensors) {
    SourceStream stream(source, data_begin + tensor.begin, tensor.end - tensor.begin);
    content.tensors.emplace(
        name, read_elements(stream, tensor.stored, tensor.stored.type, std::move(tensor.shape)));
  }
  return content;
}

const char* dtype_of(ElementType type) {
  switch (type) {
    case ElementType::f32: return "F32";
    case ElementType::f64: return "F64";
    case ElementType::bf16: return "BF16";
    case ElementType::i8: return "I8";
    case ElementType::u8: return "U8";
    case ElementType::i16: return "I16";
    case ElementType::u16: return "U16";
    case ElementType::i32: return "I32";
    case ElementType::u32: return "U32";
    case ElementType::i64: return "I64";
    case ElementType::u64: return "U64";
    case ElementType::boolean: return "BOOL";
  }
  return "?";
}

}  // namespace

const Array& SafeTensors::at(const std::string& name) const {
  const auto found = tensors.find(name);
  check(found != tensors.end(), "[safetensors] there is no tensor '{}'", name);
  return found->second;
}

SafeTensors read_safetensors(const std::filesystem::path& path) {
  return read(Source(path));
}

SafeTensors parse_safetensors(std::span<const std::byte> bytes, const std::string& name) {
  return read(Source(bytes, name));
}

SafeTensorsIndex inspect_safetensors(const std::filesystem::path& path) {
  std::uint64_t data_begin = 0;
  SafeTensorsHeader header = read_header(Source(path), data_begin);
  SafeTensorsIndex index;
  index.metadata = std::move(header.metadata);
  for (auto& [name, tensor] : header.tensors)
    index.tensors[name] = {tensor.stored.type, std::move(tensor.shape)};
  return index;
}

void write_safetensors(const std::filesystem::path& path, const SafeTensors& content) {
  std::vector<const std::pair<const std::string, Array>*> order;
  for (const auto& entry : content.tensors) order.push_back(&entry);
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return size_of(a->second.type()) > size_of(b->second.type());
  });
  std::string text;
  try {
    nlohmann::ordered_json header = nlohmann::ordered_json::object();
    if (!content.metadata.empty()) header["__metadata__"] = content.metadata;
    std::uint64_t at = 0;
    for (const auto* entry : order) {
      const auto& [name, array] = *entry;
      check(name != "__metadata__", "[safetensors] a tensor cannot be named __metadata__");
      const std::uint64_t end = at + array.bytes().size();
      header[name] = {
          {"dtype", dtype_of(array.type())}, {"shape", array.shape()}, {"data_offsets", {at, end}}};
      at = end;
    }
    text = header.dump();
  } catch (const nlohmann::json::exception&) {
    fail("[safetensors] {}: names and metadata must be UTF-8", path.string());
  }
  text.append((8 - text.size() % 8) % 8, ' ');
  check(text.size() <= max_header, "[safetensors] {}: a header of {} bytes is too long",
        path.string(), text.size());
  atomic_write(path, [&](Sink& sink) {
    std::string length;
    append_le(length, static_cast<std::uint64_t>(text.size()));
    sink.write(length);
    sink.write(text);
    for (const auto* entry : order) sink.write(entry->second.bytes());
  });
}

}  // namespace flr::data
