#include <algorithm>
#include <cmath>

#include "flr/train/metrics.hpp"
#include "flr/train/svg_plot.hpp"
#include "output.hpp"

namespace pdebench {

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

void write_loss_curve(const std::filesystem::path& folder, const std::string& title) {
  const auto lines = flr::train::read_metrics(folder / "metrics.jsonl");
  Plot errors{.title = title, .x = {.label = "step"}, .y = {.label = "loss", .logarithmic = true}};
  errors.series = {averaged(series_of(lines, "loss", "training loss", false), 400),
                   series_of(lines, "train_rel_error", "train relative L2", true),
                   series_of(lines, "test_rel_error", "test relative L2", true),
                   series_of(lines, "ema_test_rel_error", "test, EMA weights", true)};
  std::erase_if(errors.series, [](const Series& s) { return s.x.empty(); });
  Plot rate{.x = {.label = "step"}, .y = {.label = "learning rate"}, .height = 200};
  rate.series = {averaged(series_of(lines, "lr", "", false), 400)};
  flr::train::write_svg(folder / "loss.svg", std::vector<Plot>{errors, rate});
}

}  // namespace pdebench
