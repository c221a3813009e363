// Data sets by name, in the layout that the reference expects (folders and files: README), split
// and normalised as it does.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "flr/data/point_set.hpp"

namespace flr::data {

/// A training and a test set, with x and y already encoded; losses and errors decode y.
struct Dataset {
  std::string name;
  PointSet train, test;
  Normalizer x_norm, y_norm;
  /// What the pictures of this set show beside truth and prediction: a channel of x, or none.
  std::optional<index_t> picture_channel;
  /// Darcy trains with the derivatives of the solution, on a grid of this spacing.
  bool derivative_loss = false;
  double derivative_step = 0;
  /// Samples per batch in evaluation.
  index_t eval_batch = 1;
  /// Triangles of the test samples for VTK output, [T,3], or empty.
  std::vector<index_t> triangles;
};

/// Where the points of a Darcy grid lie.
enum class DarcyCoordinates {
  linspace,  ///< on [0,1] end points, as the reference's programs put them
  cells,     ///< at the cell centres where the values belong: (r·i + ½)/s
};

struct DatasetOptions {
  std::filesystem::path root = "data";
  index_t train_samples = 0, test_samples = 0;  ///< 0: the published split
  // darcy
  index_t darcy_stride = 0;  ///< every n-th grid line; 0: every 5th of the published 421, else every one
  DarcyCoordinates darcy_coordinates = DarcyCoordinates::linspace;
  bool legacy = true;  ///< derivative step 1/85 (the paper's) instead of the true spacing 1/84
  // a set of one's own
  std::string x_key = "x", y_key = "y";
  std::filesystem::path split;  ///< JSON: {"train": [..], "test": [..]}
  bool normalize_x = false, normalize_y = true;
};

/// The names that load_dataset knows, for messages and --help.
std::vector<std::string> dataset_names();

/// Loads a set by name, or the .npz file of that path. Refuses an unknown name with the list, and a
/// file of another shape with what was expected and found.
Dataset load_dataset(const std::string& name, const DatasetOptions& options);

// The readers behind it, one a file.
Dataset load_elasticity(const DatasetOptions& options);
Dataset load_darcy(const DatasetOptions& options);
Dataset load_darcy_small(const DatasetOptions& options, index_t test_grid);
Dataset load_airfoil(const DatasetOptions& options);
Dataset load_pipe(const DatasetOptions& options);
Dataset load_npz_dataset(const std::filesystem::path& file, const DatasetOptions& options);

/// Inputs without targets: x [S,N,c] or, with offsets, [points,c], as load_npz_dataset reads them.
PointSet load_npz_points(const std::filesystem::path& file, const std::string& x_key);

/// Fits normalisers on the training set as asked and encodes both sets.
void normalize(Dataset& set, bool x, bool y);

}  // namespace flr::data
