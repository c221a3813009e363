// Random coefficients of the Darcy benchmark: a Gaussian field, cut at zero into two values.
// Source: the generator that accompanies Li et al., "Fourier neural operator for parametric partial
// differential equations", ICLR 2021.
#pragma once

#include <cstdint>
#include <vector>

#include "flr/data/dct.hpp"

namespace flr::data {

/// What a Darcy set is made of. The defaults are the published ones.
struct DarcyRecipe {
  index_t grid = 421;         ///< cells along an axis; cell i is centred at (i + ½) / grid
  double tau = 3, alpha = 2;  ///< inverse length scale and smoothness of the field
  double high = 12, low = 3;  ///< coefficient where the field is ≥ 0, and elsewhere
  double source = 1;          ///< right-hand side f
  std::uint64_t seed = 0;

  bool operator==(const DarcyRecipe&) const = default;
};

/// Refuses grids below 4 cells, coefficients that are not positive, and a field of no smoothness.
void check_recipe(const DarcyRecipe& recipe);

/// The cell centres (i + ½) / grid.
std::vector<double> cell_centres(index_t grid);

/// Fields by number. Field i is a function of seed and i alone, and of the grid only through the
/// waves that fit on it: normals are drawn for each wave, so the same field can be had finer.
class DarcyField {
 public:
  explicit DarcyField(const DarcyRecipe& recipe);

  /// The Gaussian field at the cell centres, [grid, grid]: the Karhunen–Loève sum over
  /// cos(π k₁ x) cos(π k₂ y) with standard deviations τ^(α−1) (π² (k₁² + k₂²) + τ²)^(−α/2), up to
  /// the factor 2 or √2 of the orthonormal basis; without its mean (k₁ = k₂ = 0).
  std::vector<double> gaussian(std::uint64_t sample) const;

  /// `high` where the field is ≥ 0, `low` elsewhere, [grid, grid].
  std::vector<double> coefficient(std::uint64_t sample) const;

 private:
  DarcyRecipe recipe_;
  InverseDct transform_;
  std::vector<double> deviation_;  ///< of each wave, times the grid
};

}  // namespace flr::data
