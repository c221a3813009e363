#include "flr/train/run_folder.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "flr/core/error.hpp"
#include "flr/data/file.hpp"
#include "flr/train/checkpoint_folder.hpp"

namespace flr::train {

namespace fs = std::filesystem;

namespace {

std::string last_error() { return std::generic_category().message(errno); }

// Moves a folder to a name that nothing has yet; false if the name is taken.
bool take_name(const fs::path& from, const fs::path& to) {
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) return true;
  if (errno == EEXIST) return false;
  const bool unsupported = errno == EINVAL || errno == ENOSYS;
  check(unsupported, "[run] {} cannot be created: {}", to.string(), last_error());
  // Without that call the name is taken first, and the empty folder replaced.
  if (::mkdir(to.c_str(), 0777) != 0) {
    check(errno == EEXIST, "[run] {} cannot be created: {}", to.string(), last_error());
    return false;
  }
  const bool moved = ::rename(from.c_str(), to.c_str()) == 0;
  check(moved, "[run] {} cannot be created: {}", to.string(), last_error());
  return true;
}

}  // namespace

fs::path create_run_folder(const fs::path& root, std::string_view name, const FillRunFolder& fill) {
  check(!name.empty() && name != "." && name != ".." && name.find('/') == name.npos &&
            name.find('\0') == name.npos,
        "[run] expected the name of a folder, without '/'; got '{}'", name);
  std::error_code error;
  fs::create_directories(root, error);
  check(!error, "[run] {} cannot be created: {}", root.string(), error.message());
  static std::atomic<int> count{0};
  const fs::path hidden = root / fmt::format(".{}.tmp-{}-{}", name, ::getpid(), ++count);
  fs::remove_all(hidden, error);  // of a process that had the same number
  const bool made = ::mkdir(hidden.c_str(), 0777) == 0;
  check(made, "[run] {} cannot be created: {}", hidden.string(), last_error());
  try {
    for (int number = 0; number < 100'000; ++number) {
      const fs::path folder =
          root / (number == 0 ? std::string(name) : fmt::format("{}{:02}", name, number));
      if (fs::exists(fs::symlink_status(folder, error))) continue;
      if (fill) fill(hidden, folder.filename().string());
      if (take_name(hidden, folder)) return folder;
    }
    fail("[run] {} holds too many runs called {}", root.string(), name);
  } catch (...) {
    fs::remove_all(hidden, error);
    throw;
  }
}

RunLock::RunLock(const fs::path& folder) {
  folder_ = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  check(folder_ >= 0, "[run] {} cannot be opened: {}", folder.string(),
        std::generic_category().message(errno));
  if (::flock(folder_, LOCK_EX | LOCK_NB) == 0) {
    // Who holds the lock is alone here: unfinished files were left by a run that was killed.
    remove_leftovers(folder);
    return;
  }
  if (errno != EWOULDBLOCK) return;  // no locks on this file system
  ::close(folder_);
  fail("[run] {} is in use by another process", folder.string());
}

RunLock::RunLock(RunLock&& other) noexcept : folder_(std::exchange(other.folder_, -1)) {}

RunLock::~RunLock() {
  if (folder_ >= 0) ::close(folder_);
}

void write_rel_error(const fs::path& folder, const RelativeErrors& errors) {
  nlohmann::ordered_json json{{"train_rel_error", errors.train}, {"test_rel_error", errors.test}};
  if (errors.ema_train) json["ema_train_rel_error"] = *errors.ema_train;
  if (errors.ema_test) json["ema_test_rel_error"] = *errors.ema_test;
  data::atomic_write(folder / "rel_error.json", json.dump(4) + '\n');
}

RelativeErrors read_rel_error(const fs::path& folder) {
  const fs::path path = folder / "rel_error.json";
  const auto json = nlohmann::json::parse(data::read_text(path, 1u << 20), nullptr, false);
  check(json.is_object(), "[run] {}: expected a JSON object", path.string());
  const auto number = [&](const char* key) {
    const bool there = json.contains(key) && (json[key].is_number() || json[key].is_null());
    check(there, "[run] {}: expected a number under '{}'", path.string(), key);
    return json[key].is_null() ? std::nan("") : json[key].get<double>();
  };
  RelativeErrors errors{number("train_rel_error"), number("test_rel_error")};
  if (json.contains("ema_train_rel_error")) errors.ema_train = number("ema_train_rel_error");
  if (json.contains("ema_test_rel_error")) errors.ema_test = number("ema_test_rel_error");
  return errors;
}

}  // namespace flr::train
