#include "flr/data/safetensors_header.hpp"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

namespace flr::data {

namespace {

using nlohmann::json;

StoredElement element_of(const std::string& dtype, const std::string& file,
                         const std::string& name) {
  using enum ElementType;
  static const std::map<std::string, StoredElement> known = {
      {"F64", {f64}}, {"F32", {f32}}, {"F16", {f32, true}}, {"BF16", {bf16}}, {"I64", {i64}},
      {"I32", {i32}}, {"I16", {i16}}, {"I8", {i8}},         {"U64", {u64}},   {"U32", {u32}},
      {"U16", {u16}}, {"U8", {u8}},   {"BOOL", {boolean}}};
  const auto found = known.find(dtype);
  check(found != known.end(), "[safetensors] {}: tensor '{}' has type '{}', which is not read",
        file, name, dtype);
  return found->second;
}

// Events of the JSON parser. A tree would keep the last of two equal names without a word, and
// costs many times the header's size.
class HeaderEvents final : public nlohmann::json_sax<json> {
 public:
  explicit HeaderEvents(const std::string& file) : file_(file) {}
  SafeTensorsHeader header;

  bool null() override { return unexpected("null"); }
  bool boolean(bool) override { return unexpected("a boolean"); }
  bool number_integer(number_integer_t) override { return unexpected("a negative number"); }
  bool number_float(number_float_t, const string_t&) override {
    return unexpected("a number that is not an integer");
  }
  bool binary(binary_t&) override { return unexpected("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (place_ != Place::shape && place_ != Place::offsets) return unexpected("a number");
    if (place_ == Place::shape) {
      check(value <= std::numeric_limits<std::int64_t>::max() && shape_->size() < max_array_rank,
            "[safetensors] {}: tensor '{}' has more than {} axes or a huge extent", file_, name_,
            max_array_rank);
      shape_->push_back(static_cast<std::int64_t>(value));
    } else {
      check(offsets_->size() < 2, "[safetensors] {}: tensor '{}' has more than two offsets", file_,
            name_);
      offsets_->push_back(value);
    }
    return true;
  }

  bool string(string_t& value) override {
    if (place_ == Place::metadata) {
      check(header.metadata.emplace(field_, value).second,
            "[safetensors] {} has two metadata entries named '{}'", file_, field_);
      return true;
    }
    if (place_ != Place::tensor || field_ != "dtype") return unexpected("a string");
    check(!dtype_, "[safetensors] {}: tensor '{}' has two types", file_, name_);
    dtype_ = value;
    return true;
  }

  bool key(string_t& key) override {
    if (place_ != Place::top) {
      field_ = key;
      return true;
    }
    name_ = key;
    const bool metadata = name_ == "__metadata__";
    check(!(metadata ? std::exchange(has_metadata_, true) : header.tensors.contains(name_)),
          "[safetensors] {} has two entries named '{}'", file_, name_);
    return true;
  }

  bool start_object(std::size_t) override {
    if (place_ == Place::outside) {
      place_ = Place::top;
    } else if (place_ == Place::top) {
      place_ = name_ == "__metadata__" ? Place::metadata : Place::tensor;
      dtype_.reset();
      shape_.reset();
      offsets_.reset();
    } else {
      return unexpected("an object");
    }
    return true;
  }

  bool end_object() override {
    if (place_ == Place::tensor) {
      check(dtype_ && shape_ && offsets_ && offsets_->size() == 2,
            "[safetensors] {}: tensor '{}' needs dtype, shape and two data_offsets", file_, name_);
      header.tensors[name_] = {element_of(*dtype_, file_, name_), std::move(*shape_),
                               (*offsets_)[0], (*offsets_)[1]};
    }
    place_ = place_ == Place::top ? Place::outside : Place::top;
    return true;
  }

  bool start_array(std::size_t) override {
    if (place_ != Place::tensor) return unexpected("an array");
    if (field_ == "shape" && !shape_) {
      shape_.emplace();
      place_ = Place::shape;
    } else if (field_ == "data_offsets" && !offsets_) {
      offsets_.emplace();
      place_ = Place::offsets;
    } else {
      return unexpected("an array");
    }
    return true;
  }
  bool end_array() override {
    place_ = Place::tensor;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const json::exception&) override {
    fail("[safetensors] {} is damaged: its header is not valid JSON at byte {}", file_, position);
  }

 private:
  enum class Place { outside, top, metadata, tensor, shape, offsets };

  bool unexpected(const char* what) const {
    fail("[safetensors] {} is damaged: unexpected {} in its header, at '{}' '{}'", file_, what,
         name_, place_ == Place::top || place_ == Place::outside ? "" : field_);
  }

  const std::string& file_;
  Place place_ = Place::outside;
  std::string name_, field_;
  bool has_metadata_ = false;
  std::optional<std::string> dtype_;
  std::optional<std::vector<std::int64_t>> shape_;
  std::optional<std::vector<std::uint64_t>> offsets_;
};

}  // namespace

SafeTensorsHeader parse_safetensors_header(const std::string& text, const std::string& file,
                                           std::uint64_t data_size) {
  HeaderEvents events(file);
  json::sax_parse(text, &events);
  std::vector<std::pair<std::uint64_t, std::uint64_t>> extents;
  for (const auto& [name, tensor] : events.header.tensors) {
    const std::string where = file + ":" + name;
    const std::int64_t numel = ArrayInfo{tensor.stored.type, tensor.shape}.numel(where);
    std::int64_t bytes = 0;
    check(tensor.begin <= tensor.end && tensor.end <= data_size,
          "[safetensors] {}: expected offsets within {} bytes of data; got {} to {}", where,
          data_size, tensor.begin, tensor.end);
    check(!__builtin_mul_overflow(numel, tensor.stored.size(), &bytes) &&
              static_cast<std::uint64_t>(bytes) == tensor.end - tensor.begin,
          "[safetensors] {}: expected {} elements of {} bytes; got {} bytes", where, numel,
          tensor.stored.size(), tensor.end - tensor.begin);
    extents.emplace_back(tensor.begin, tensor.end);
  }
  std::sort(extents.begin(), extents.end());
  std::uint64_t at = 0;
  for (const auto& [begin, end] : extents) {
    check(begin == at, "[safetensors] {} is damaged: its tensors {} at byte {}", file,
          begin < at ? "overlap" : "leave a hole", std::min(begin, at));
    at = end;
  }
  check(at == data_size, "[safetensors] {} is damaged: its tensors take {} bytes; {} are there",
        file, at, data_size);
  return std::move(events.header);
}

}  // namespace flr::data
