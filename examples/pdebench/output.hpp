// What a run leaves for people: pictures and fields.
#pragma once

#include <filesystem>
#include <string>

#include "flr/data/dataset.hpp"

namespace pdebench {

/// From decoded predictions [points, c_out] of the test set: predictions.npz, and of the best, the
/// median and the worst sample a picture (pictures/*.png) and fields (fields/*.vts or *.vtu).
/// Prints which samples these are and where.
void write_predictions(const std::filesystem::path& folder, const flr::data::Dataset& set,
                       const std::vector<float>& prediction, std::int64_t data_dims);

}  // namespace pdebench
