#include <algorithm>
#include <cmath>

#include "flr/data/csv.hpp"
#include "flr/data/listops.hpp"
#include "flr/data/lra.hpp"
#include "flr/data/sequence_rows.hpp"

namespace flr::data {

namespace {

// Texts hold quotes that quote nothing.
constexpr CsvOptions tab_separated{.delimiter = '\t', .quote = '\0'};

std::string where_of(const CsvReader& reader) {
  return fmt::format("[lra] {} line {}:", reader.name(), reader.line());
}

// 0 or 1, also as the 0.0 and 1.0 of the pairs.
std::int32_t binary_label(const std::string& field, const std::string& where) {
  check(field == "0" || field == "1" || field == "0.0" || field == "1.0",
        "{} expected a label of 0 or 1; got '{:.20}'", where, field);
  return field[0] - '0';
}

SequenceLayout text_layout(index_t length) {
  return {.vocabulary = byte_vocabulary, .classes = 2, .pad = 0, .length = length};
}

}  // namespace

SequenceSet read_listops(const std::filesystem::path& tsv, const LraOptions& options) {
  CsvReader reader(tsv, tab_separated);
  std::vector<std::string> fields;
  check(reader.next(fields) && fields.size() == 2 && fields[0] == "Source" && fields[1] == "Target",
        "[lra] {} expected a header of Source and Target", reader.name());
  std::vector<std::vector<std::uint8_t>> expressions;
  std::vector<std::int32_t> values;
  while (reader.next(fields)) {
    const std::string where = where_of(reader);
    check(fields.size() == 2, "{} expected 2 fields; got {}", where, fields.size());
    check(fields[1].size() == 1 && fields[1][0] >= '0' && fields[1][0] <= '9',
          "{} expected a value of 0 to 9; got '{:.20}'", where, fields[1]);
    int value = 0;
    try {
      expressions.push_back(listops_tokens(fields[0]));
      value = listops_value(expressions.back());
    } catch (const Error& error) {
      fail("{} {}", where, error.what());
    }
    check(value == fields[1][0] - '0', "{} the expression's value is {}, the file says {}", where,
          value, fields[1]);
    values.push_back(value);
  }
  check(!values.empty(), "[lra] {} holds no expression", reader.name());
  return listops_set(expressions, values, options.length ? options.length : listops::length);
}

void write_listops(const std::filesystem::path& tsv,
                   const std::vector<std::vector<std::uint8_t>>& expressions) {
  atomic_write(tsv, [&](Sink& sink) {
    sink.write("Source\tTarget\n");
    for (const auto& tokens : expressions)
      sink.write(fmt::format("{}\t{}\n", listops_text(tokens), listops_value(tokens)));
  });
}

SequenceSet read_imdb_tsv(const std::filesystem::path& tsv, const LraOptions& options) {
  CsvReader reader(tsv, tab_separated);
  const index_t length = options.length ? options.length : 1000;
  std::vector<std::string> fields;
  std::vector<SequenceRow> rows;
  std::size_t width = 0;
  while (reader.next(fields)) {
    const std::string where = where_of(reader);
    if (rows.empty()) width = fields.size();
    check(fields.size() == width && width >= 2, "{} expected {} fields; got {}", where,
          std::max<std::size_t>(width, 2), fields.size());
    rows.push_back({byte_tokens(fields.back(), length), {binary_label(fields[0], where)}});
  }
  return pack_rows(rows, text_layout(length), fmt::format("[lra] {}", reader.name()));
}

SequenceSet read_imdb_folder(const std::filesystem::path& folder, const LraOptions& options) {
  const index_t length = options.length ? options.length : 1000;
  std::vector<SequenceRow> rows;
  for (const std::int32_t label : {0, 1}) {
    const auto part = folder / (label ? "pos" : "neg");
    std::error_code error;
    std::vector<std::filesystem::path> files;
    for (auto at = std::filesystem::directory_iterator(part, error);
         !error && at != std::filesystem::directory_iterator(); at.increment(error))
      if (at->path().extension() == ".txt") files.push_back(at->path());
    check(!error, "[lra] the folder {} cannot be read: {}", part.string(), error.message());
    // The order of a folder is the file system's; the set must not depend on it.
    std::ranges::sort(files);
    for (const auto& file : files) rows.push_back({byte_tokens(read_text(file), length), {label}});
  }
  return pack_rows(rows, text_layout(length), fmt::format("[lra] {}", folder.string()));
}

SequenceSet read_aan_pairs(const std::filesystem::path& tsv, const LraOptions& options) {
  CsvReader reader(tsv, tab_separated);
  const index_t length = options.length ? options.length : 4000;
  std::vector<std::string> fields;
  std::vector<SequenceRow> first, second;
  while (reader.next(fields)) {
    const std::string where = where_of(reader);
    check(fields.size() == 5, "{} expected 5 fields (label, two ids, two texts); got {}", where,
          fields.size());
    const std::int32_t label = binary_label(fields[0], where);
    first.push_back({byte_tokens(fields[3], length), {label}});
    second.push_back({byte_tokens(fields[4], length), {label}});
  }
  const std::string where = fmt::format("[lra] {}", reader.name());
  SequenceSet set = pack_rows(first, text_layout(length), where);
  SequenceSet others = pack_rows(second, text_layout(length), where);
  set.second = std::move(others.tokens);
  set.second_lengths = std::move(others.lengths);
  return set;
}

SequenceSet read_cifar10(const std::vector<std::filesystem::path>& files) {
  constexpr std::uint64_t pixels = 1024, gray = 1 + pixels, colour = 1 + 3 * pixels;
  std::vector<Source> sources;
  index_t count = 0;
  std::uint64_t record = 0;
  for (const auto& file : files) {
    sources.emplace_back(file);
    const std::uint64_t size = sources.back().size();
    // The published files hold fewer records than the 1025 or 3073 that would fit both sizes.
    if (record == 0) record = size % gray == 0 ? gray : colour;
    check(size > 0 && size % record == 0,
          "[lra] {} expected records of {} (gray) or {} (colour) bytes, as the other files; got {} "
          "bytes in all",
          file.string(), gray, colour, size);
    count += static_cast<index_t>(size / record);
  }
  SequenceSet set;
  set.vocabulary = 256, set.classes = 10;
  set.tokens = Array::uninitialized(ElementType::u8, {count, static_cast<index_t>(pixels)});
  set.lengths.assign(static_cast<std::size_t>(count), static_cast<index_t>(pixels));
  std::uint8_t* out = set.tokens.mutable_as<std::uint8_t>().data();
  std::vector<std::byte> buffer(static_cast<std::size_t>(record));
  const auto byte = [&](std::size_t i) { return std::to_integer<std::uint8_t>(buffer[1 + i]); };
  const auto luma = [&](std::size_t i) {
    const double v = 0.2989 * byte(i) + 0.587 * byte(pixels + i) + 0.114 * byte(2 * pixels + i);
    return static_cast<std::uint8_t>(v * (255.5 / 255));
  };
  for (const Source& source : sources)
    for (std::uint64_t at = 0; at < source.size(); at += record) {
      source.read(at, buffer);
      set.labels.push_back(std::to_integer<std::int32_t>(buffer[0]));
      for (std::size_t i = 0; i < pixels; ++i) *out++ = record == gray ? byte(i) : luma(i);
    }
  check_sequences(set, fmt::format("[lra] {}", files[0].string()));
  return set;
}

}  // namespace flr::data
