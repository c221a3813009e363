// loss.svg of a run, from its metrics.jsonl.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "flr/train/svg_plot.hpp"

namespace program {

/// A value of metrics.jsonl and its name in the legend.
struct Curve {
  std::string key, name;
};

/// The training loss (means over neighbouring steps), the learning rate, and `scores`: in the plot
/// of the loss, or where `axis` has a label in one of their own.
void write_curves(const std::filesystem::path& folder, const std::string& title,
                  const std::vector<Curve>& scores, const flr::train::Axis& axis = {});

}  // namespace program
