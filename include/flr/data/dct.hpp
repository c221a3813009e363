// The orthonormal discrete cosine transform of square grids.
#pragma once

#include <vector>

#include "flr/core/shape.hpp"

namespace flr::data {

/// The inverse (DCT-III) of the orthonormal DCT-II along both axes of an n × n grid:
///   x_ij = Σ_kl a_k a_l X_kl cos(π k (2i+1) / 2n) cos(π l (2j+1) / 2n),
/// a_0 = √(1/n), else √(2/n). Two dense products with the basis: O(n³), but fast for any n, and the
/// published n = 421 is prime.
class InverseDct {
 public:
  explicit InverseDct(index_t n);
  std::vector<double> operator()(const std::vector<double>& coefficients) const;

 private:
  index_t n_;
  std::vector<double> basis_;  ///< row i, column k
};

}  // namespace flr::data
