// The record of a training run: one JSON object a line, in `metrics.jsonl`.
#pragma once

#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace flr::train {

using MetricValue = std::variant<std::int64_t, double, std::string>;
using Metric = std::pair<std::string, MetricValue>;

/// One line as read back. A number that was not finite, null in the file, reads as NaN.
struct MetricLine {
  std::int64_t step = 0;
  std::vector<Metric> values;  ///< without the step, in the order of the line
};

/// Appends to a metrics file. Every line reaches the operating system before `write` returns, so it
/// outlives a killed process.
///
/// So that a resumed run leaves the same file as an uninterrupted one: write the lines of a step
/// before its checkpoint, steps in rising order, and nothing that depends on the clock.
class MetricsLog {
 public:
  /// Starts a new file; one that exists already is an error.
  static MetricsLog create(const std::filesystem::path& path);
  /// Continues a file (or starts it, if it is missing) after the checkpoint of `step`: lines of
  /// later steps and a last line that a kill tore apart are cut off.
  static MetricsLog resume(const std::filesystem::path& path, std::int64_t step);

  MetricsLog(MetricsLog&& other) noexcept;
  MetricsLog& operator=(MetricsLog&&) = delete;
  ~MetricsLog();

  /// Appends `{"step": step, key: value, …}`; numbers that are not finite become null. If the line
  /// cannot be written in full, none of it stays in the file, and flr::Error is thrown.
  void write(std::int64_t step, std::span<const Metric> values);
  void write(std::int64_t step, std::initializer_list<Metric> values) {
    write(step, std::span(values.begin(), values.size()));
  }
  /// Returns when the lines are on the disk: call it before a checkpoint that counts on them.
  void sync();

 private:
  MetricsLog(std::filesystem::path path, int flags, std::int64_t size);

  std::filesystem::path path_;
  int file_ = -1;
  std::int64_t size_ = 0;
  std::optional<std::int64_t> last_step_;
};

/// All lines of a metrics file. A torn last line is left out; any other line that is not a JSON
/// object with a step is an error that names it.
std::vector<MetricLine> read_metrics(const std::filesystem::path& path);

}  // namespace flr::train
