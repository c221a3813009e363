// Samples of a Darcy set that is being made, in a file that survives being killed.
#pragma once

#include <filesystem>
#include <mutex>
#include <set>
#include <vector>

#include "flr/data/darcy_field.hpp"

namespace flr::data {

/// Which samples of a recipe a set holds, and how much of each.
struct DarcySet {
  DarcyRecipe recipe;
  index_t samples = 1;
  index_t stride = 1;  ///< every stride-th cell along each axis, from the first one on

  /// Points along an axis: 421 cells at a stride of 5 are 85.
  index_t side() const { return (recipe.grid + stride - 1) / stride; }
  /// Where they lie: (stride · i + ½) / grid.
  std::vector<double> points() const;

  bool operator==(const DarcySet&) const = default;
};

void check_set(const DarcySet& set);

/// One sample: [side, side] each.
struct DarcySample {
  std::vector<std::uint8_t> high;  ///< 1 where the coefficient is the high one
  std::vector<double> solution;
};

/// A header that says what is being made, then samples in the order in which they were finished,
/// each with its number and a checksum. A sample that was cut short ends the file and is made
/// again. One process at a time may hold a file.
class DarcyPart {
 public:
  enum class Start { fresh, resume };

  /// `fresh` refuses an existing file, `resume` one that was made for another set; `resume` without
  /// a file starts a fresh one.
  DarcyPart(std::filesystem::path path, const DarcySet& set, Start start);
  ~DarcyPart();
  DarcyPart(const DarcyPart&) = delete;
  DarcyPart& operator=(const DarcyPart&) = delete;

  const DarcySet& set() const { return set_; }
  bool has(index_t sample) const;
  index_t count() const;

  /// Any thread may append.
  void append(index_t sample, const DarcySample& values);
  DarcySample read(index_t sample) const;

  /// Deletes the file: the finished set stands elsewhere.
  void remove();

 private:
  void adopt();
  std::uint64_t record_size() const;

  std::filesystem::path path_;
  DarcySet set_;
  int file_ = -1;
  std::vector<std::int64_t> offset_;  ///< of each sample, −1 where it is missing
  index_t count_ = 0;
  std::uint64_t end_ = 0;
  mutable std::mutex mutex_;
};

}  // namespace flr::data
