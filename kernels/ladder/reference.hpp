// What a step must give, in double, from the rounded inputs; and how far it is from that.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "ladder/ladder.hpp"

namespace flr::cuda::ladder {

/// Row i of head h. The operands lie in host memory.
inline std::vector<double> reference_row(const Hop& p, int h, index_t i) {
  std::vector<double> score(static_cast<std::size_t>(p.columns)), out(std::size_t(p.D));
  double top = -INFINITY, sum = 0;
  for (index_t j = 0; j < p.columns; ++j) {
    double s = 0;
    for (int d = 0; d < p.D; ++d) s += double(p.row.at(h, i)[d]) * double(p.column.at(h, j)[d]);
    score[std::size_t(j)] = s;
    top = std::max(top, s);
  }
  for (index_t j = 0; j < p.columns; ++j) {
    const double weight = std::exp(score[std::size_t(j)] - top);
    sum += weight;
    for (int d = 0; d < p.D; ++d) out[std::size_t(d)] += weight * double(p.value.at(h, j)[d]);
  }
  for (double& x : out) x /= sum;
  return out;
}

/// How far out is from the reference. Rounding the result, and the weights of the tensor cores, to
/// bf16 makes an l2 of about 0.002; a missing column or a wrong channel makes far more than `most`.
struct Deviation {
  static constexpr double most = 4e-3;
  double max = 0;  ///< the largest difference over the largest number
  double l2 = 0;   ///< ‖out − reference‖₂ / ‖reference‖₂
};

/// Compares up to `scores` scores' worth of rows, spread evenly, the first and the last among them.
inline Deviation deviation_of(const Hop& p, double scores) {
  const index_t all = p.rows * p.H;
  const index_t fits = index_t(std::min(double(all), scores / double(p.columns)));
  const index_t count = std::max<index_t>(std::min<index_t>(all, 2), fits);
  double difference = 0, norm = 0, largest = 0, largest_difference = 0;
  for (index_t x = 0; x < count; ++x) {
    const index_t at = count == 1 ? 0 : x * (all - 1) / (count - 1);
    const int h = int(at % p.H);
    const auto expected = reference_row(p, h, at / p.H);
    for (int d = 0; d < p.D; ++d) {
      const double e = expected[std::size_t(d)], off = double(p.out.at(h, at / p.H)[d]) - e;
      difference += off * off, norm += e * e;
      largest = std::max(largest, std::abs(e));
      if (!(std::abs(off) <= largest_difference)) largest_difference = std::abs(off);  // NaN stays
    }
  }
  return {largest_difference / largest, std::sqrt(difference / norm)};
}

}  // namespace flr::cuda::ladder
