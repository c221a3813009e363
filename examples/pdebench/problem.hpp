// The data of a run, and how its fields are encoded.
#pragma once

#include "flr/data/dataset.hpp"
#include "options.hpp"

namespace pdebench {

/// The data set that the options name.
flr::data::Dataset load_problem(const Options& options);

/// The test half of another set, encoded as `training` is. Refuses one of other channels.
flr::data::Dataset load_test_set(const Options& options, const flr::data::Dataset& training);

/// Normalisers as normalizer.safetensors in a run's folder, so that predictions need no data set.
struct Normalizers {
  flr::data::Normalizer x, y;
};
void save_normalizers(const std::filesystem::path& folder, const Normalizers& n);
Normalizers load_normalizers(const std::filesystem::path& folder);
/// Refuses a training set that is not the one a run began with, as far as its normalisers tell.
void check_same_data(const std::filesystem::path& folder, const flr::data::Dataset& set);

}  // namespace pdebench
