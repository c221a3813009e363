#include "flr/train/metrics.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <string_view>
#include <system_error>

#include "flr/core/error.hpp"
#include "flr/data/file.hpp"

namespace flr::train {

namespace {

using Json = nlohmann::ordered_json;

// A run writes a line a step or fewer; a gigabyte of them is no metrics file.
constexpr std::uint64_t size_limit = 1u << 30;

std::string last_error() {
  return std::generic_category().message(errno);
}

struct ParsedLine {
  MetricLine line;
  std::size_t end;  // offset behind the newline
};

std::optional<MetricLine> parse_line(std::string_view text) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object() || !json.contains("step") || !json["step"].is_number_integer()) return {};
  MetricLine line;
  for (const auto& [key, value] : json.items()) {
    if (key == "step")
      line.step = value.get<std::int64_t>();
    else if (value.is_number_integer())
      line.values.emplace_back(key, value.get<std::int64_t>());
    else if (value.is_number())
      line.values.emplace_back(key, value.get<double>());
    else if (value.is_string())
      line.values.emplace_back(key, value.get<std::string>());
    else if (value.is_null())
      line.values.emplace_back(key, std::nan(""));
    else
      return {};
  }
  return line;
}

std::vector<ParsedLine> parse_file(const std::filesystem::path& path) {
  const std::string text = data::read_text(path, size_limit);
  std::vector<ParsedLine> lines;
  for (std::size_t start = 0; start < text.size();) {
    const std::size_t newline = text.find('\n', start);
    if (newline == std::string::npos) break;  // torn
    auto line = parse_line(std::string_view(text).substr(start, newline - start));
    // After a power cut the last line may hold zeros where its bytes never arrived.
    if (!line && newline + 1 == text.size()) break;
    check(line.has_value(), "[metrics] {}: line {} is not a JSON object with a step", path.string(),
          lines.size() + 1);
    lines.push_back({std::move(*line), newline + 1});
    start = newline + 1;
  }
  return lines;
}

}  // namespace

MetricsLog::MetricsLog(std::filesystem::path path, int flags, std::int64_t size)
    : path_(std::move(path)), size_(size) {
  file_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0666);
  check(file_ >= 0, "[metrics] {} cannot be opened for writing: {}", path_.string(), last_error());
}

MetricsLog::MetricsLog(MetricsLog&& other) noexcept
    : path_(std::move(other.path_)),
      file_(std::exchange(other.file_, -1)),
      size_(other.size_),
      last_step_(other.last_step_) {}

MetricsLog::~MetricsLog() {
  if (file_ >= 0) ::close(file_);
}

MetricsLog MetricsLog::create(const std::filesystem::path& path) {
  return MetricsLog(path, O_EXCL, 0);
}

MetricsLog MetricsLog::resume(const std::filesystem::path& path, std::int64_t step) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return create(path);
  std::size_t keep = 0;
  std::optional<std::int64_t> last;
  for (const ParsedLine& parsed : parse_file(path)) {
    if (parsed.line.step > step) break;
    keep = parsed.end;
    last = parsed.line.step;
  }
  MetricsLog log(path, 0, static_cast<std::int64_t>(keep));
  log.last_step_ = last;
  const bool cut = ::ftruncate(log.file_, log.size_) == 0;  // errno is read after it
  check(cut, "[metrics] {} cannot be cut to step {}: {}", path.string(), step, last_error());
  return log;
}

void MetricsLog::write(std::int64_t step, std::span<const Metric> values) {
  check(!last_step_ || step >= *last_step_,
        "[metrics] {}: expected steps in rising order; got {} after {}", path_.string(), step,
        *last_step_);
  Json json{{"step", step}};
  for (const auto& [key, value] : values)
    std::visit([&, name = key](const auto& v) { json[name] = v; }, value);
  // Text that is not UTF-8 is replaced rather than refused: a metric must not end a run.
  const std::string line = json.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n';
  for (std::size_t done = 0; done < line.size();) {
    const ssize_t n = ::pwrite(file_, line.data() + done, line.size() - done,
                               static_cast<off_t>(size_) + static_cast<off_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n > 0) {
      done += static_cast<std::size_t>(n);
      continue;
    }
    const std::string reason = n == 0 ? "no bytes were taken" : last_error();
    if (::ftruncate(file_, size_) != 0)
      fail("[metrics] {} cannot be written: {}; its last line may be incomplete", path_.string(),
           reason);
    fail("[metrics] {} cannot be written: {}", path_.string(), reason);
  }
  size_ += static_cast<std::int64_t>(line.size());
  last_step_ = step;
}

void MetricsLog::sync() {
  const bool synced = ::fdatasync(file_) == 0;
  check(synced, "[metrics] {} cannot be written to the disk: {}", path_.string(), last_error());
}

std::vector<MetricLine> read_metrics(const std::filesystem::path& path) {
  std::vector<MetricLine> lines;
  for (ParsedLine& parsed : parse_file(path)) lines.push_back(std::move(parsed.line));
  return lines;
}

}  // namespace flr::train
