// Numbered checkpoint folders, `ckpt01/`, `ckpt02/`, …, that are there whole or not at all.
#pragma once

#include <filesystem>
#include <optional>
#include <vector>

namespace flr::train {

/// Removes what a killed process left in a folder: an unfinished checkpoint, and the temporary files
/// of atomic writes. For a folder in which nobody else is at work (RunLock).
void remove_leftovers(const std::filesystem::path& folder);

/// A checkpoint in the making. Files go into `folder()`, a temporary folder inside the run's;
/// `commit` makes it the run's next checkpoint. Without `commit` (an error, a full disk, an early
/// return) it vanishes, and the checkpoints before it stay as they are. What a killed process left
/// behind is removed when the next one begins; hold a RunLock, so that nobody else is at work.
class CheckpointWriter {
 public:
  explicit CheckpointWriter(const std::filesystem::path& run_folder);
  ~CheckpointWriter();
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  const std::filesystem::path& folder() const { return folder_; }
  /// Waits until all files are on the disk, renames the folder to the next number, and returns its
  /// new path. Call it once.
  std::filesystem::path commit();

 private:
  std::filesystem::path run_folder_, folder_;
  bool committed_ = false;
};

/// All complete checkpoints of a run, oldest first.
std::vector<std::filesystem::path> checkpoints(const std::filesystem::path& run_folder);

/// The newest complete checkpoint, if there is any.
std::optional<std::filesystem::path> latest_checkpoint(const std::filesystem::path& run_folder);

}  // namespace flr::train
