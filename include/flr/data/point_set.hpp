// Samples of a data set: features and targets at points, the same number in every sample or not.
#pragma once

#include "flr/core/shape.hpp"
#include "flr/data/array.hpp"

namespace flr::data {

/// S samples of x [N,c_in] and y [N,c_out], one after the other: sample i holds the rows
/// offsets[i] … offsets[i+1] of both. Values are float; y may have no rows (prediction).
struct PointSet {
  std::vector<float> x, y;
  index_t c_in = 0, c_out = 0;
  std::vector<index_t> offsets{0};
  /// For sets on a structured grid: its extents, slow axis first; else empty.
  std::vector<index_t> grid;

  index_t samples() const { return static_cast<index_t>(offsets.size()) - 1; }
  index_t points(index_t sample) const {
    return offsets[static_cast<std::size_t>(sample) + 1] - offsets[static_cast<std::size_t>(sample)];
  }
  bool has_targets() const { return !y.empty(); }
  /// Whether every sample has the same number of points.
  bool uniform() const;
  /// The given samples, in that order.
  PointSet select(const std::vector<index_t>& samples) const;

  /// S samples of N points each; the data are filled in by the caller.
  static PointSet regular(index_t samples, index_t points, index_t c_in, index_t c_out);
};

/// Mean and deviation of each channel; decode(encode(v)) = v.
struct Normalizer {
  std::vector<double> mean, std;

  /// The identity on `channels` channels.
  static Normalizer identity(index_t channels);
  /// Per-channel mean and unbiased deviation (+1e-8) over all points of all samples of v
  /// [points, channels].
  static Normalizer gaussian(const std::vector<float>& v, index_t channels);

  void encode(std::vector<float>& v) const;
  void decode(std::vector<float>& v) const;
  bool is_identity() const;
};

}  // namespace flr::data
