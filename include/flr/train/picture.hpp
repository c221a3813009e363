// A row of fields side by side, each with its title and colour bar: coefficient, truth, prediction,
// error.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "flr/train/colormap.hpp"
#include "flr/train/raster.hpp"

namespace flr::train {

/// The smallest and largest finite value of a field; {0, 0} if there is none.
struct ValueRange {
  double low = 0, high = 0;
};
ValueRange value_range(std::span<const float> values);

/// One field of a picture. `values` must outlive the call that draws it.
struct Panel {
  std::string title = {};  ///< ASCII
  std::span<const float> values = {};
  Colormap colormap = Colormap::sequential;
  /// Values of the colour bar's ends. Default: the field's own range, and for a diverging map the
  /// range that has zero in the middle.
  std::optional<ValueRange> range = {};
};

struct PictureOptions {
  int side = 256;       ///< longer side of a panel in pixels, 96 to 8192
  bool smooth = false;  ///< interpolate between the values of an even grid
  std::optional<Window> window = {};
};

/// Draws the panels from left to right. Values that are not finite appear grey.
Image draw_panels(const FieldLayout& layout, std::span<const Panel> panels,
                  const PictureOptions& options = {});

/// The four panels of a solved problem: `input` (left out if empty), `truth` and `prediction` on
/// one scale, and prediction − truth on a diverging one.
Image draw_prediction(const FieldLayout& layout, std::span<const float> input,
                      std::span<const float> truth, std::span<const float> prediction,
                      const PictureOptions& options = {},
                      const std::string& input_title = "coefficient");

}  // namespace flr::train
