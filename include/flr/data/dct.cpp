#include "flr/data/dct.hpp"

#include <cmath>
#include <numbers>

// The order of additions must not depend on how many threads Eigen would take.
#define EIGEN_DONT_PARALLELIZE
#include <Eigen/Core>

namespace flr::data {

namespace {
using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
}  // namespace

InverseDct::InverseDct(index_t n) : n_(n) {
  check(n >= 1 && n < 32768, "[dct] expected a grid of 1 to 32767 points along an axis; got {}", n);
  basis_.reserve(static_cast<std::size_t>(n * n));
  for (index_t i = 0; i < n; ++i)
    for (index_t k = 0; k < n; ++k) {
      // The angle is reduced in integers: cos(π m / 2n) has period 4n in m.
      const auto m = static_cast<double>(k * (2 * i + 1) % (4 * n));
      const double angle = std::numbers::pi * m / static_cast<double>(2 * n);
      basis_.push_back(std::sqrt((k == 0 ? 1.0 : 2.0) / static_cast<double>(n)) * std::cos(angle));
    }
}

std::vector<double> InverseDct::operator()(const std::vector<double>& coefficients) const {
  check(static_cast<index_t>(coefficients.size()) == n_ * n_,
        "[dct] expected {} coefficients; got {}", n_ * n_, coefficients.size());
  const Eigen::Map<const Matrix> basis(basis_.data(), n_, n_);
  const Eigen::Map<const Matrix> in(coefficients.data(), n_, n_);
  std::vector<double> result(coefficients.size());
  const Matrix half = basis * in;
  Eigen::Map<Matrix>(result.data(), n_, n_).noalias() = half * basis.transpose();
  return result;
}

}  // namespace flr::data
