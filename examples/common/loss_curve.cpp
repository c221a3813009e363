#include <algorithm>
#include <cmath>

#include "flr/train/metrics.hpp"
#include "flr/train/svg_plot.hpp"
#include "loss_curve.hpp"

namespace program {

using flr::train::Axis;
using flr::train::MetricLine;
using flr::train::Plot;
using flr::train::Series;

namespace {

Series series_of(const std::vector<MetricLine>& lines, const std::string& key,
                 const std::string& name, bool markers) {
  Series s{.name = name, .markers = markers};
  for (const MetricLine& line : lines)
    for (const auto& [k, value] : line.values)
      if (k == key && std::holds_alternative<double>(value)) {
        s.x.push_back(static_cast<double>(line.step));
        s.y.push_back(std::get<double>(value));
      }
  return s;
}

// Means over runs of neighbouring points: the loss of single batches is a cloud, not a curve.
Series averaged(const Series& s, std::size_t most) {
  const std::size_t width = (s.x.size() + most - 1) / most;
  if (width <= 1) return s;
  Series mean{.name = s.name};
  for (std::size_t begin = 0; begin < s.x.size(); begin += width) {
    const std::size_t end = std::min(s.x.size(), begin + width);
    double x = 0, y = 0;
    for (std::size_t i = begin; i < end; ++i) x += s.x[i], y += s.y[i];
    mean.x.push_back(x / static_cast<double>(end - begin));
    mean.y.push_back(y / static_cast<double>(end - begin));
  }
  return mean;
}

}  // namespace

void write_curves(const std::filesystem::path& folder, const std::string& title,
                  const std::vector<Curve>& scores, const Axis& axis) {
  const auto lines = flr::train::read_metrics(folder / "metrics.jsonl");
  Plot losses{.title = title, .x = {.label = "step"}, .y = {.label = "loss", .logarithmic = true}};
  losses.series = {averaged(series_of(lines, "loss", "training loss", false), 400)};
  Plot apart{.x = {.label = "step"}, .y = axis};
  for (const Curve& c : scores) {
    Plot& plot = axis.label.empty() ? losses : apart;
    plot.series.push_back(series_of(lines, c.key, c.name, true));
  }
  Plot rate{.x = {.label = "step"}, .y = {.label = "learning rate"}, .height = 200};
  rate.series = {averaged(series_of(lines, "lr", "", false), 400)};
  std::vector<Plot> plots{losses};
  if (!apart.series.empty()) plots.push_back(apart);
  plots.push_back(rate);
  for (Plot& plot : plots) std::erase_if(plot.series, [](const Series& s) { return s.x.empty(); });
  flr::train::write_svg(folder / "loss.svg", plots);
}

}  // namespace program
