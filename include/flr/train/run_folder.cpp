#include "flr/train/run_folder.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "flr/core/error.hpp"
#include "flr/data/file.hpp"

namespace flr::train {

namespace fs = std::filesystem;

fs::path create_run_folder(const fs::path& root, std::string_view name) {
  check(!name.empty() && name != "." && name != ".." && name.find('/') == name.npos &&
            name.find('\0') == name.npos,
        "[run] expected the name of a folder, without '/'; got '{}'", name);
  std::error_code error;
  fs::create_directories(root, error);
  check(!error, "[run] {} cannot be created: {}", root.string(), error.message());
  for (int number = 0; number < 100'000; ++number) {
    const fs::path folder =
        root / (number == 0 ? std::string(name) : fmt::format("{}{:02}", name, number));
    // mkdir either makes the folder or says that it is there: no gap for another process.
    if (::mkdir(folder.c_str(), 0777) == 0) return folder;
    check(errno == EEXIST, "[run] {} cannot be created: {}", folder.string(),
          std::generic_category().message(errno));
  }
  fail("[run] {} holds too many runs called {}", root.string(), name);
}

RunLock::RunLock(const fs::path& folder) {
  folder_ = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  check(folder_ >= 0, "[run] {} cannot be opened: {}", folder.string(),
        std::generic_category().message(errno));
  if (::flock(folder_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) {
    // Who holds the lock is alone here, so what is hidden was left by a run that was killed.
    std::error_code none;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder, none))
      if (entry.path().filename().string().starts_with(".")) fs::remove_all(entry.path(), none);
    return;
  }
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
