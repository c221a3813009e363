#include "flr/train/picture.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "flr/train/font.hpp"

namespace flr::train {

namespace {

constexpr Rgb ink{40, 40, 40}, frame{150, 150, 150};

ValueRange shown_range(const Panel& panel) {
  if (panel.range) return *panel.range;
  const ValueRange own = value_range(panel.values);
  if (panel.colormap == Colormap::sequential) return own;
  const double largest = std::max(std::abs(own.low), std::abs(own.high));
  return {-largest, largest};
}

double position(double value, ValueRange range) {
  if (!std::isfinite(value)) return std::numeric_limits<double>::quiet_NaN();
  return range.high > range.low ? (value - range.low) / (range.high - range.low) : 0.5;
}

// Sizes that follow from the scale of the lettering.
struct Measures {
  int scale, gap, text, bar;
  explicit Measures(int width)
      : scale(width >= 180 ? 2 : 1), gap(6 * scale), text(glyph_height * scale), bar(5 * scale) {}
  int above() const { return 2 * gap + text; }
  int below() const { return gap + bar + gap / 2 + text + gap; }
};

void draw_title(Image& image, int x, int y, int width, std::string title, int scale) {
  while (scale > 1 && text_width(title, scale) > width) --scale;
  const auto fitting = static_cast<std::size_t>(width / glyph_advance);
  if (title.size() > fitting) title.resize(fitting);
  draw_text(image, x + (width - text_width(title, scale)) / 2, y, title, ink, scale);
}

void draw_colour_bar(Image& image, int x, int y, int width, const Panel& panel, ValueRange range,
                     const Measures& m) {
  for (int i = 0; i < width; ++i)
    image.fill(x + i, y, 1, m.bar, colour(panel.colormap, i / (width - 1.0)));
  const std::string low = fmt::format("{:.3g}", range.low);
  const std::string high = fmt::format("{:.3g}", range.high);
  int scale = m.scale;
  while (scale > 1 && text_width(low + " " + high, scale) > width) --scale;
  const int below = y + m.bar + m.gap / 2;
  draw_text(image, x, below, low, ink, scale);
  draw_text(image, x + width - text_width(high, scale), below, high, ink, scale);
}

void draw_field(Image& image, int x, int y, const Raster& raster, const Panel& panel,
                ValueRange range) {
  image.fill(x - 1, y - 1, raster.width() + 2, raster.height() + 2, frame);
  image.fill(x, y, raster.width(), raster.height(), {255, 255, 255});
  for (int j = 0; j < raster.height(); ++j)
    for (int i = 0; i < raster.width(); ++i)
      if (const auto sample = raster.sample(panel.values, i, j); sample.painted)
        image.set(x + i, y + j, colour(panel.colormap, position(sample.value, range)));
}

}  // namespace

ValueRange value_range(std::span<const float> values) {
  bool any = false;
  ValueRange range;
  for (const float value : values) {
    if (!std::isfinite(value)) continue;
    range.low = any ? std::min<double>(range.low, value) : value;
    range.high = any ? std::max<double>(range.high, value) : value;
    any = true;
  }
  return range;
}

Image draw_panels(const FieldLayout& layout, std::span<const Panel> panels,
                  const PictureOptions& options) {
  check(!panels.empty(), "[picture] expected at least one panel");
  check(options.side >= 96, "[picture] expected panels of at least 96 pixels; got {}",
        options.side);
  const Raster raster(layout, options.side, options.smooth,
                      options.window ? &*options.window : nullptr);
  // A tall, narrow field keeps room for its title and labels.
  const int slot = std::max(raster.width(), 96);
  const Measures m(slot);
  const int margin = 2 * m.gap;
  const int count = static_cast<int>(panels.size());
  Image image(margin + count * (slot + margin), m.above() + raster.height() + m.below());
  int left = margin;
  for (const Panel& panel : panels) {
    const ValueRange range = shown_range(panel);
    const int x = left + (slot - raster.width()) / 2;
    draw_title(image, left, m.gap, slot, panel.title, m.scale);
    draw_field(image, x, m.above(), raster, panel, range);
    draw_colour_bar(image, left, m.above() + raster.height() + m.gap, slot, panel, range, m);
    left += slot + margin;
  }
  return image;
}

Image draw_prediction(const FieldLayout& layout, std::span<const float> input,
                      std::span<const float> truth, std::span<const float> prediction,
                      const PictureOptions& options, const std::string& input_title) {
  check(truth.size() == prediction.size(),
        "[picture] expected as many predictions as true values; got {} and {}", prediction.size(),
        truth.size());
  std::vector<float> error(truth.size());
  for (std::size_t i = 0; i < error.size(); ++i) error[i] = prediction[i] - truth[i];
  // The truth sets the scale, so that a stray prediction does not wash out both panels.
  const ValueRange range = value_range(truth);
  std::vector<Panel> panels;
  if (!input.empty()) panels.push_back({input_title, input});
  panels.push_back({"truth", truth, Colormap::sequential, range});
  panels.push_back({"prediction", prediction, Colormap::sequential, range});
  panels.push_back({"error", error, Colormap::diverging});
  return draw_panels(layout, panels, options);
}

}  // namespace flr::train
