#include "spectra.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "flr/data/file.hpp"
#include "flr/data/loader.hpp"
#include "flr/models/spectrum.hpp"
#include "flr/train/svg_plot.hpp"

namespace pdebench {

using namespace flr;

namespace {

using Spectra = std::vector<std::vector<std::vector<double>>>;  // layer, head, mode

constexpr index_t most_samples = 16;
constexpr double threshold = 1e-3;

Spectra average(const models::Model<float>& model, const data::PointSet& test, index_t samples,
                bool legacy) {
  Spectra sum;
  for (index_t i = 0; i < samples; ++i) {
    const auto x = data::make_batch<float>(test, {i}).x.to(model.device());
    const Spectra one = models::mixing_spectra(model, x, legacy);
    if (sum.empty()) {
      sum = one;
      continue;
    }
    for (std::size_t l = 0; l < one.size(); ++l)
      for (std::size_t h = 0; h < one[l].size(); ++h)
        for (std::size_t m = 0; m < one[l][h].size(); ++m) sum[l][h][m] += one[l][h][m];
  }
  for (auto& layer : sum)
    for (auto& head : layer)
      for (double& value : head) value /= static_cast<double>(samples);
  return sum;
}

train::Plot plot_layer(const std::vector<std::vector<double>>& heads, std::size_t layer) {
  train::Plot plot{.title = fmt::format("block {}", layer + 1),
                   .x = {.label = "mode"},
                   .y = {.label = "eigenvalue", .logarithmic = true, .low = 1e-7, .high = 1},
                   .height = 260};
  for (std::size_t h = 0; h < heads.size(); ++h) {
    train::Series line{.name = heads.size() <= 8 ? fmt::format("head {}", h + 1) : ""};
    for (std::size_t m = 0; m < heads[h].size(); ++m) {
      line.x.push_back(static_cast<double>(m + 1));
      // Below the resolution of single precision there is only noise.
      line.y.push_back(heads[h][m] > 1.2e-7 ? heads[h][m] : 0);
    }
    plot.series.push_back(std::move(line));
  }
  return plot;
}

}  // namespace

void write_spectra(const std::filesystem::path& folder, const models::Model<float>& model,
                   const data::PointSet& test, bool legacy) {
  const index_t samples = std::min(most_samples, test.samples());
  const Spectra spectra = average(model, test, samples, legacy);
  std::vector<train::Plot> plots;
  fmt::print("spectra    modes above {:g} of each head, means of {} test samples\n", threshold,
             samples);
  for (std::size_t l = 0; l < spectra.size(); ++l) {
    plots.push_back(plot_layer(spectra[l], l));
    std::string counts;
    for (const auto& head : spectra[l])
      counts += fmt::format(
          " {}", std::count_if(head.begin(), head.end(), [](double v) { return v > threshold; }));
    fmt::print("  block {:<3}{}\n", l + 1, counts);
  }
  train::write_svg(folder / "spectra.svg", plots);
  const nlohmann::ordered_json json = {{"samples", samples}, {"layers", spectra}};
  data::atomic_write(folder / "spectra.json", json.dump() + "\n");
}

}  // namespace pdebench
