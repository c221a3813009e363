// The output folder of a run: its free name, its lock, its errors.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace flr::train {

/// Creates and returns `root/name`, or where that exists `root/name01`, `root/name02`, …; several
/// processes may ask at the same time, and each gets a folder of its own. `name` is one path
/// component. `root` is created if it is missing. `fill(folder, name)`, if given, writes what the run
/// cannot be restarted without, before the folder appears under its name: a process that is killed
/// at any moment leaves a whole folder or none.
using FillRunFolder = std::function<void(const std::filesystem::path& folder, const std::string& name)>;
std::filesystem::path create_run_folder(const std::filesystem::path& root, std::string_view name,
                                        const FillRunFolder& fill = {});

/// Keeps other processes from working in a run's folder (a second restart, say) until it is gone;
/// the system lets go of it when the process dies, however that happens. Throws if another process
/// holds it, or if there is no such folder. A file system without locks is left unguarded.
class RunLock {
 public:
  explicit RunLock(const std::filesystem::path& folder);
  RunLock(RunLock&& other) noexcept;
  RunLock& operator=(RunLock&&) = delete;
  ~RunLock();

 private:
  int folder_ = -1;
};

/// Relative L2 errors of the raw weights, and where an average of the weights is kept, of it.
struct RelativeErrors {
  double train = 0, test = 0;
  std::optional<double> ema_train = {}, ema_test = {};
};

/// Writes `folder/rel_error.json` in one piece: `{"train_rel_error": …, "test_rel_error": …}`, then
/// `ema_train_rel_error` and `ema_test_rel_error` if they are given. NaN becomes null.
void write_rel_error(const std::filesystem::path& folder, const RelativeErrors& errors);
/// Reads it back; null becomes NaN.
RelativeErrors read_rel_error(const std::filesystem::path& folder);

}  // namespace flr::train
