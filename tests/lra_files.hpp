// Real data of the Long Range Arena tasks, where they are there.
#pragma once

#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

/// A file below $FLR_DATA_DIR/lra (or the shared data), or an empty path and a message that the
/// test is skipped. One that is there as .xz is unpacked into the folder of temporary files.
inline std::filesystem::path lra_file(const std::string& name) {
  namespace fs = std::filesystem;
  const char* elsewhere = std::getenv("FLR_DATA_DIR");
  const fs::path file = fs::path(elsewhere ? elsewhere : FLR_SHARED_DIR "/data") / "lra" / name;
  if (fs::exists(file)) return file;
  const fs::path packed = file.string() + ".xz";
  if (!fs::exists(packed)) {
    MESSAGE("skipped: " << file.string() << " is not there");
    return {};
  }
  const fs::path unpacked = fs::temp_directory_path() /
                            ("flr-" + std::to_string(::getpid()) + "-" + file.filename().string());
  struct Removed {
    std::vector<fs::path> files;
    ~Removed() {
      for (const auto& path : files) fs::remove(path);
    }
  };
  static Removed at_exit;
  const std::string command = "xz -dc '" + packed.string() + "' > '" + unpacked.string() + "'";
  if (!fs::exists(unpacked) && std::system(command.c_str()) != 0) {
    MESSAGE("skipped: xz does not unpack " << packed.string());
    fs::remove(unpacked);
    return {};
  }
  at_exit.files.push_back(unpacked);
  return unpacked;
}
