// Where an axis has its marks, and what they say.
#pragma once

#include <string>
#include <vector>

namespace flr::train {

struct Ticks {
  double low, high;  ///< the ends of the axis
  std::vector<double> at;
  std::vector<std::string> labels;  ///< UTF-8
};

/// Marks at 1, 2 or 5 times a power of ten, about `wanted` of them. With `widen`, the ends move out
/// to the next mark.
Ticks linear_ticks(double low, double high, int wanted, bool widen = true);

/// Marks at powers of ten, thinned where they are many, and at 1, 2, 5 times powers of ten where
/// the range spans less than two decades; `low` must be positive. With `widen`, the ends move out
/// to a round number.
Ticks log_ticks(double low, double high, int wanted, bool widen = true);

}  // namespace flr::train
