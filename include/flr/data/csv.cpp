#include "flr/data/csv.hpp"

#include <algorithm>
#include <charconv>

namespace flr::data {

namespace {

constexpr std::size_t block_size = 1 << 16;
constexpr int end_of_file = -1;

// A number with optional spaces around it and an optional plus sign.
std::optional<double> number_of(std::string_view text) {
  const auto blank = [](char c) { return c == ' ' || c == '\t'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  if (text.size() > 1 && text[0] == '+' && text[1] != '-') text.remove_prefix(1);
  double value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (text.empty() || error != std::errc{} || stop != end) return std::nullopt;
  return value;
}

CsvTable read_table(const Source& source, const CsvOptions& options) {
  CsvReader reader(source, options);
  CsvTable table;
  std::vector<std::string> fields;
  std::vector<double> values;
  std::int64_t rows = 0;
  std::size_t width = 0;
  for (bool first = true; reader.next(fields); first = false) {
    if (first) {
      width = fields.size();
      const bool numeric = std::all_of(fields.begin(), fields.end(),
                                       [](const auto& field) { return number_of(field); });
      if (options.header.value_or(!numeric)) {
        table.columns = fields;
        continue;
      }
    }
    check(fields.size() == width, "[csv] {} line {}: expected {} fields; got {}", source.name(),
          reader.line(), width, fields.size());
    for (std::size_t column = 0; column < width; ++column) {
      const auto value = number_of(fields[column]);
      if (!value)
        fail("[csv] {} line {} column {}: expected a number; got '{:.40}'", source.name(),
             reader.line(), column + 1, fields[column]);
      values.push_back(*value);
    }
    ++rows;
  }
  table.values = Array(values, {rows, static_cast<std::int64_t>(width)});
  return table;
}

}  // namespace

CsvReader::CsvReader(const Source& source, const CsvOptions& options)
    : source_(source), delimiter_(options.delimiter), quote_(options.quote) {
  if (delimiter_ == '\0') delimiter_ = source.name().ends_with(".tsv") ? '\t' : ',';
  check(delimiter_ != quote_ && delimiter_ != '\n' && delimiter_ != '\r',
        "[csv] expected a delimiter other than the quote and the line end");
}

int CsvReader::peek() {
  if (at_ == block_.size()) {
    const auto n = std::min<std::uint64_t>(block_size, source_.size() - offset_);
    if (n == 0) return end_of_file;
    block_.resize(static_cast<std::size_t>(n));
    source_.read(offset_, block_);
    // The byte-order mark that spreadsheets put in front of UTF-8.
    const bool mark = offset_ == 0 && n >= 3 && block_[0] == std::byte{0xef} &&
                      block_[1] == std::byte{0xbb} && block_[2] == std::byte{0xbf};
    at_ = mark ? 3 : 0;
    offset_ += n;
    if (at_ == block_.size()) return peek();
  }
  return static_cast<unsigned char>(block_[at_]);
}

int CsvReader::take() {
  const int c = peek();
  if (c == end_of_file) return c;
  ++at_;
  if (c == '\n') ++lines_seen_;
  return c;
}

bool CsvReader::next(std::vector<std::string>& fields) {
  fields.clear();
  while (peek() == '\n' || peek() == '\r') take();
  if (peek() == end_of_file) return false;
  line_ = lines_seen_ + 1;
  const int quote = quote_ == '\0' ? end_of_file : static_cast<unsigned char>(quote_);
  const int delimiter = static_cast<unsigned char>(delimiter_);
  std::string field;
  for (bool quoted = false, start = true;;) {
    const int c = take();
    if (quoted) {
      check(c != end_of_file, "[csv] {}: the quote of line {} never ends", name(), line_);
      if (c != quote)
        field += static_cast<char>(c);
      else if (peek() == quote)
        field += static_cast<char>(take());
      else
        quoted = false;
    } else if (c == quote && quote != end_of_file && start) {
      quoted = true;
      start = false;
    } else if (c == delimiter) {
      fields.push_back(std::move(field));
      field.clear();
      start = true;
    } else if (c == end_of_file || c == '\n') {
      fields.push_back(std::move(field));
      return true;
    } else if (c != '\r' || peek() != '\n') {
      field += static_cast<char>(c);
      start = false;
    }
  }
}

CsvTable read_csv(const std::filesystem::path& path, const CsvOptions& options) {
  return read_table(Source(path), options);
}

CsvTable parse_csv(std::span<const std::byte> bytes, const CsvOptions& options,
                   const std::string& name) {
  return read_table(Source(bytes, name), options);
}

void write_csv(const std::filesystem::path& path, const CsvTable& table, char delimiter) {
  check(table.values.rank() == 2, "[csv] expected a table [rows, columns]; got {}",
        shape_text(table.values.shape()));
  const auto columns = static_cast<std::size_t>(table.values.extent(1));
  check(table.columns.empty() || table.columns.size() == columns,
        "[csv] expected {} column names; got {}", columns, table.columns.size());
  const std::vector<double> values = table.values.convert<double>();
  atomic_write(path, [&](Sink& sink) {
    std::string text;
    for (std::size_t c = 0; c < table.columns.size(); ++c) {
      text += c ? std::string(1, delimiter) + '"' : "\"";
      for (char letter : table.columns[c]) text.append(letter == '"' ? 2 : 1, letter);
      text += '"';
    }
    if (!table.columns.empty()) text += '\n';
    for (std::size_t i = 0; i < values.size(); ++i) {
      text += fmt::format("{}", values[i]);
      text += (i + 1) % columns ? delimiter : '\n';
      if (text.size() > block_size) {
        sink.write(text);
        text.clear();
      }
    }
    sink.write(text);
  });
}

}  // namespace flr::data
