#include "flr/train/checkpoint_folder.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "flr/core/error.hpp"

namespace flr::train {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view prefix = "ckpt", unfinished = ".ckpt-unfinished";

// The number of a checkpoint's name, or 0 if it is no such name.
std::int64_t number_of(const std::string& name) {
  if (!name.starts_with(prefix)) return 0;
  const std::string digits = name.substr(prefix.size());
  const bool all = digits.find_first_not_of("0123456789") == digits.npos;
  return all && digits.size() >= 2 && digits.size() <= 9 ? std::stoll(digits) : 0;
}

std::vector<std::pair<std::int64_t, fs::path>> numbered(const fs::path& run_folder) {
  std::error_code error;
  std::vector<std::pair<std::int64_t, fs::path>> found;
  fs::directory_iterator entry(run_folder, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    std::error_code ignored;
    const std::int64_t number = number_of(entry->path().filename().string());
    if (number > 0 && entry->is_directory(ignored)) found.emplace_back(number, entry->path());
  }
  check(!error, "[checkpoint] {} cannot be read: {}", run_folder.string(), error.message());
  std::sort(found.begin(), found.end());
  return found;
}

void sync(const fs::path& path, int flags) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | flags);
  const bool done = file >= 0 && (::fsync(file) == 0 || errno == EINVAL);
  const int error = errno;
  if (file >= 0) ::close(file);
  check(done, "[checkpoint] {} cannot be written to the disk: {}", path.string(),
        std::generic_category().message(error));
}

}  // namespace

void remove_leftovers(const fs::path& folder) {
  std::error_code error;  // what cannot be read or removed fails later, where it matters
  fs::directory_iterator entry(folder, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    const bool temporary_file = name.starts_with('.') && name.find(".tmp-") != name.npos;
    std::error_code ignored;
    if (name == unfinished || temporary_file) fs::remove_all(entry->path(), ignored);
  }
}

CheckpointWriter::CheckpointWriter(const fs::path& run_folder)
    : run_folder_(run_folder), folder_(run_folder / unfinished) {
  remove_leftovers(run_folder);
  const bool made = ::mkdir(folder_.c_str(), 0777) == 0;  // errno is read after it
  check(made, "[checkpoint] {} cannot be created: {}", folder_.string(),
        std::generic_category().message(errno));
}

CheckpointWriter::~CheckpointWriter() {
  std::error_code ignored;
  if (!committed_) fs::remove_all(folder_, ignored);
}

fs::path CheckpointWriter::commit() {
  check(!committed_, "[checkpoint] expected one commit for {}", run_folder_.string());
  std::error_code error;
  fs::recursive_directory_iterator entry(folder_, error);
  for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
    std::error_code ignored;
    const auto type = entry->symlink_status(ignored).type();
    if (type == fs::file_type::directory) sync(entry->path(), O_DIRECTORY);
    if (type == fs::file_type::regular) sync(entry->path(), 0);
  }
  check(!error, "[checkpoint] {} cannot be read: {}", folder_.string(), error.message());
  sync(folder_, O_DIRECTORY);
  const auto earlier = numbered(run_folder_);
  const std::int64_t number = earlier.empty() ? 1 : earlier.back().first + 1;
  const fs::path target = run_folder_ / fmt::format("{}{:02}", prefix, number);
  const bool renamed = ::rename(folder_.c_str(), target.c_str()) == 0;
  check(renamed, "[checkpoint] {} cannot be created: {}", target.string(),
        std::generic_category().message(errno));
  committed_ = true;
  sync(run_folder_, O_DIRECTORY);
  return target;
}

std::vector<fs::path> checkpoints(const fs::path& run_folder) {
  std::vector<fs::path> out;
  for (auto& [number, path] : numbered(run_folder)) out.push_back(std::move(path));
  return out;
}

std::optional<fs::path> latest_checkpoint(const fs::path& run_folder) {
  auto all = checkpoints(run_folder);
  if (all.empty()) return std::nullopt;
  return std::move(all.back());
}

}  // namespace flr::train
