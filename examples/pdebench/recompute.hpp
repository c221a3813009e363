// What a training step needs beside what is there before it, and what backward recomputes to fit.
#pragma once

#include <array>
#include <string>

#include "flr/data/point_set.hpp"
#include "flr/models/model.hpp"
#include "options.hpp"

namespace pdebench {

/// Bytes of activations and gradients on their way at the peak of a step's forward and backward
/// pass, for each models::Recompute. Estimated: measured on a few of the points, where the model
/// lies, and scaled to a whole batch. The model's gradients hold something else afterwards.
std::array<double, 3> activation_bytes(flr::models::Model<float>& model,
                                       const flr::data::PointSet& train, flr::index_t batch_size);

/// Bytes that a device has left: of a GPU as it says itself, of the CPU what the system can give
/// without swapping, within the process's limit (ulimit -v). Infinite where nobody knows.
double free_bytes(flr::Device device);

/// The least recomputation whose need is within 4/5 of `free`; the rest is for the sizes to which
/// memory is rounded and for working memory. Blocks where nothing suffices.
flr::models::Recompute least_recompute(const std::array<double, 3>& need, double free);

/// Sets what backward recomputes, as --recompute says or by least_recompute; returns a line that
/// says so and a table of the choices.
std::string choose_recompute(const Options& options, const flr::data::PointSet& train,
                             flr::models::Model<float>& model);

}  // namespace pdebench
