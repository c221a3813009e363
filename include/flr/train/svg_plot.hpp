// Line charts as SVG: loss curves, spectra, speed figures.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace flr::train {

/// One line. Points that are not finite, or not positive on a logarithmic axis, break it.
struct Series {
  std::string name = {};  ///< in the legend; empty: not in the legend
  std::vector<double> x = {}, y = {};
  bool markers = false;  ///< a dot at each point: few points, as in speed figures
};

struct Axis {
  std::string label = {};
  bool logarithmic = false;
  /// Ends of the axis; by default those of the data, widened to the next round number.
  std::optional<double> low = {}, high = {};
};

struct Plot {
  std::string title = {};
  Axis x = {}, y = {};
  std::vector<Series> series = {};
  int width = 720, height = 400;  ///< pixels; at least 240 x 160
};

/// The SVG text of plots drawn below one another, such as the losses and the learning rate. A plot
/// without a drawable point is drawn empty.
std::string to_svg(std::span<const Plot> plots);

/// Writes the SVG in one piece.
void write_svg(const std::filesystem::path& path, std::span<const Plot> plots);
void write_svg(const std::filesystem::path& path, const Plot& plot);

}  // namespace flr::train
