#include <algorithm>
#include <cstring>

#include "flr/data/lra.hpp"
#include "flr/data/npz.hpp"

namespace flr::data {

namespace {

// Tokens in their compact form; a negative one, or one beyond two bytes, is refused by convert.
Array compact(const Array& tokens, index_t vocabulary) {
  return tokens.convert(token_type(vocabulary));
}

std::int64_t largest(const Array& values) {
  std::int64_t most = 0;
  for (std::int64_t v : values.convert<std::int64_t>()) most = std::max(most, v);
  return most;
}

std::vector<index_t> trimmed_lengths(const Array& tokens, index_t pad) {
  const index_t n = tokens.extent(1);
  const auto values = tokens.convert<std::int64_t>();
  std::vector<index_t> lengths;
  for (index_t s = 0; s < tokens.extent(0); ++s) {
    index_t length = n;
    while (length > 0 && values[static_cast<std::size_t>(s * n + length - 1)] == pad) --length;
    lengths.push_back(length);
  }
  return lengths;
}

}  // namespace

SequenceSet read_sequences(const std::filesystem::path& path) {
  const NpzFile npz(path);
  const std::string where = fmt::format("[lra] {}", path.string());
  const auto named = [&](const char* name, const char* other) -> std::string {
    return npz.contains(name) || !npz.contains(other) ? name : other;
  };
  const auto matrix = [&](const std::string& name) {
    Array values = npz.read(name);
    check(values.rank() == 2, "{} expected {} of [samples, length]; got {}", where, name,
          shape_text(values.shape()));
    return values;
  };
  const auto scalar = [&](const char* name, auto&& otherwise) {
    if (!npz.contains(name)) return static_cast<index_t>(otherwise());
    const Array value = npz.read(name);
    check(value.numel() == 1, "{} expected one number as {}; got {}", where, name,
          shape_text(value.shape()));
    return value.convert<std::int64_t>()[0];
  };
  const Array tokens = matrix(named("tokens", "input_ids_0"));
  const std::string other = named("second", "input_ids_1");
  const Array second = npz.contains(other) ? matrix(other) : Array(ElementType::u8, {0, 0});
  const Array labels = npz.read(named("labels", "label"));
  SequenceSet set;
  set.token_labels = labels.rank() == 2 && labels.extent(1) == tokens.extent(1);
  check(set.token_labels || labels.numel() == tokens.extent(0),
        "{} expected labels [{}] or {}; got {}", where, tokens.extent(0),
        shape_text(tokens.shape()), shape_text(labels.shape()));
  set.labels = labels.convert<std::int32_t>();
  set.pad = scalar("pad", [] { return 0; });
  set.vocabulary =
      scalar("vocabulary", [&] { return std::max(largest(tokens), largest(second)) + 1; });
  set.classes = scalar("classes", [&] { return std::max<std::int64_t>(2, largest(labels) + 1); });
  set.tokens = compact(tokens, set.vocabulary);
  set.second = compact(second, set.vocabulary);
  const auto lengths = [&](const char* name, const Array& of) {
    if (npz.contains(name)) return npz.read(name).convert<std::int64_t>();
    return trimmed_lengths(of, set.pad);
  };
  set.lengths = lengths("lengths", set.tokens);
  if (set.paired()) set.second_lengths = lengths("second_lengths", set.second);
  check(set.samples() > 0, "{} holds no sequences", where);
  check_sequences(set, where);
  return set;
}

void write_sequences(const std::filesystem::path& path, const SequenceSet& set) {
  check_sequences(set, "[lra]");
  const auto number = [](index_t value) { return Array(std::vector<std::int64_t>{value}, {1}); };
  const auto row = [](const std::vector<index_t>& values) {
    return Array(values, {static_cast<index_t>(values.size())});
  };
  std::vector<std::int64_t> shape{set.samples()};
  if (set.token_labels) shape.push_back(set.length());
  std::map<std::string, Array> arrays{{"tokens", set.tokens},
                                      {"lengths", row(set.lengths)},
                                      {"labels", Array(set.labels, shape)},
                                      {"vocabulary", number(set.vocabulary)},
                                      {"classes", number(set.classes)},
                                      {"pad", number(set.pad)}};
  if (set.paired()) {
    arrays.emplace("second", set.second);
    arrays.emplace("second_lengths", row(set.second_lengths));
  }
  write_npz(path, arrays);
}

SequenceSet padded(SequenceSet set, index_t multiple) {
  check(multiple >= 1, "[lra] expected to pad to a multiple of at least 1; got {}", multiple);
  const index_t from = set.length(), to = (from + multiple - 1) / multiple * multiple;
  if (to == from) return set;
  const auto widen = [&](const Array& tokens) {
    const auto size = static_cast<std::size_t>(size_of(tokens.type()));
    Array wide(tokens.type(), {tokens.extent(0), to});
    if (set.pad != 0) {
      if (tokens.type() == ElementType::u8)
        std::ranges::fill(wide.mutable_as<std::uint8_t>(), static_cast<std::uint8_t>(set.pad));
      else
        std::ranges::fill(wide.mutable_as<std::uint16_t>(), static_cast<std::uint16_t>(set.pad));
    }
    for (index_t s = 0; s < tokens.extent(0); ++s)
      std::memcpy(wide.bytes().data() + static_cast<std::size_t>(s * to) * size,
                  tokens.bytes().data() + static_cast<std::size_t>(s * from) * size,
                  static_cast<std::size_t>(from) * size);
    return wide;
  };
  if (set.paired()) set.second = widen(set.second);
  if (set.token_labels) {
    std::vector<std::int32_t> labels;
    for (index_t s = 0; s < set.samples(); ++s) {
      labels.insert(labels.end(), set.labels.begin() + s * from,
                    set.labels.begin() + (s + 1) * from);
      labels.insert(labels.end(), static_cast<std::size_t>(to - from), ignored_label);
    }
    set.labels = std::move(labels);
  }
  set.tokens = widen(set.tokens);
  return set;
}

}  // namespace flr::data
