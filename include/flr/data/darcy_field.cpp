#include "flr/data/darcy_field.hpp"

#include <cmath>
#include <numbers>

#include "flr/core/philox.hpp"

namespace flr::data {

void check_recipe(const DarcyRecipe& r) {
  check(r.grid >= 4 && r.grid <= 8192, "[darcy] expected a grid of 4 to 8192 cells; got {}",
        r.grid);
  check(r.tau > 0 && std::isfinite(r.tau), "[darcy] expected tau > 0; got {}", r.tau);
  check(r.alpha > 1 && std::isfinite(r.alpha),
        "[darcy] expected alpha > 1, below which the field has no variance; got {}", r.alpha);
  check(r.low > 0 && r.high > 0 && std::isfinite(r.low) && std::isfinite(r.high),
        "[darcy] expected positive coefficients; got high {} and low {}", r.high, r.low);
  check(std::isfinite(r.source), "[darcy] expected a finite right-hand side; got {}", r.source);
}

std::vector<double> cell_centres(index_t grid) {
  std::vector<double> x;
  for (index_t i = 0; i < grid; ++i)
    x.push_back((static_cast<double>(i) + 0.5) / static_cast<double>(grid));
  return x;
}

DarcyField::DarcyField(const DarcyRecipe& recipe)
    : recipe_((check_recipe(recipe), recipe)), transform_(recipe.grid) {
  const auto pi2 = std::numbers::pi * std::numbers::pi;
  const auto n = recipe.grid;
  for (index_t i = 0; i < n; ++i)
    for (index_t j = 0; j < n; ++j) {
      const double wave = pi2 * static_cast<double>(i * i + j * j) + recipe.tau * recipe.tau;
      deviation_.push_back(static_cast<double>(n) * std::pow(recipe.tau, recipe.alpha - 1) *
                           std::pow(wave, -recipe.alpha / 2));
    }
  deviation_[0] = 0;
}

std::vector<double> DarcyField::gaussian(std::uint64_t sample) const {
  const index_t n = recipe_.grid;
  std::vector<double> waves(deviation_);
  for (index_t i = 0; i < n; ++i)
    for (index_t j = 0; j < n; j += 2) {
      const auto counter = static_cast<std::uint64_t>(i) << 32 | static_cast<std::uint64_t>(j / 2);
      const auto words = Philox4x32::block(counter, sample, recipe_.seed);
      const auto normal =
          normal_pair(uniform_double(words[0], words[1]), uniform_double(words[2], words[3]));
      waves[i * n + j] *= normal[0];
      if (j + 1 < n) waves[i * n + j + 1] *= normal[1];
    }
  return transform_(waves);
}

std::vector<double> DarcyField::coefficient(std::uint64_t sample) const {
  std::vector<double> values = gaussian(sample);
  for (double& value : values) value = value >= 0 ? recipe_.high : recipe_.low;
  return values;
}

}  // namespace flr::data
