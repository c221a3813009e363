// Errors of a model, and of two predictors that learn nothing.
#pragma once

#include <optional>

#include "flr/data/dataset.hpp"
#include "flr/models/model.hpp"
#include "flr/train/run_folder.hpp"

namespace pdebench {

/// Mean relative L2 of the decoded fields on both halves of a set.
struct Errors {
  double train = 0, test = 0;
};
Errors measure(flr::models::Model<float>& model, const flr::data::Dataset& set);

/// Relative L2 of each test sample: prediction and truth [points, c_out], decoded.
std::vector<double> sample_errors(const flr::data::PointSet& test, const std::vector<float>& pred,
                                  const std::vector<float>& truth);

/// Test relative L2 of the mean field of the training set, and of the solution of the training
/// sample with the nearest input (relative L2 of x as the model sees it). Empty where samples
/// differ in their number of points.
struct Baselines {
  double mean_field = 0, nearest_sample = 0;
};
std::optional<Baselines> baselines(const flr::data::Dataset& set);
void print_baselines(const flr::data::Dataset& set);

/// "train 0.0123, test 0.0145", and where there is an average: ", with EMA weights 0.0119 and …".
std::string describe(const flr::train::RelativeErrors& errors);

}  // namespace pdebench
