// Delimited text: records of fields (RFC 4180 with any delimiter), and tables of numbers.
#pragma once

#include <optional>

#include "flr/data/array.hpp"
#include "flr/data/file.hpp"

namespace flr::data {

struct CsvOptions {
  /// '\0': a tab for .tsv files, a comma for all others.
  char delimiter = '\0';
  /// '\0' turns quoting off: a quote is then a character as any other.
  char quote = '"';
  /// Whether the first record names the columns; unset: it does where a field is not a number.
  std::optional<bool> header = {};
};

/// Records of a file, one at a time; the file is never held whole. A quoted field may contain
/// delimiters, line ends and doubled quotes. Blank lines are skipped; lines end in \n or \r\n.
class CsvReader {
 public:
  CsvReader(const Source& source, const CsvOptions& options = {});
  explicit CsvReader(const std::filesystem::path& path, const CsvOptions& options = {})
      : CsvReader(Source(path), options) {}

  /// The next record's fields; false at the end. Refuses a quote that never ends.
  bool next(std::vector<std::string>& fields);
  /// The line where the last record began, from 1.
  std::int64_t line() const { return line_; }
  const std::string& name() const { return source_.name(); }

 private:
  int peek();
  int take();

  Source source_;
  char delimiter_, quote_;
  std::uint64_t offset_ = 0;
  std::vector<std::byte> block_;
  std::size_t at_ = 0;
  std::int64_t line_ = 0, lines_seen_ = 0;
};

struct CsvTable {
  std::vector<std::string> columns;  ///< empty without a header
  Array values;                      ///< float64 [rows, columns]
};

/// A table of numbers (also nan and inf). A field that is no number, and a row of another length,
/// are refused with their line.
CsvTable read_csv(const std::filesystem::path& path, const CsvOptions& options = {});
CsvTable parse_csv(std::span<const std::byte> bytes, const CsvOptions& options = {},
                   const std::string& name = "memory");

/// Writes [rows, columns] so that reading gives the same numbers back; `columns` may be empty.
void write_csv(const std::filesystem::path& path, const CsvTable& table, char delimiter = ',');

}  // namespace flr::data
