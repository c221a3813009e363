// Cubic splines on a grid: values at some points of an axis, wanted at others.
#pragma once

#include <vector>

#include "flr/core/shape.hpp"

namespace flr::data {

/// The cubic spline through values at `from`, evaluated at `to`, on square grids with the same
/// points along both axes. Ends are not-a-knot: the third derivative is continuous at the second
/// and the last but one point, so cubic polynomials are reproduced; points of `to` outside [from]
/// lie on the continued end pieces. This is what MATLAB's interp2 does under "spline".
class SplineGrid {
 public:
  /// `from`: at least 4 increasing points.
  SplineGrid(std::vector<double> from, std::vector<double> to);

  /// Along the first axis of [from, columns]; gives [to, columns].
  std::vector<double> along_rows(const std::vector<double>& values, index_t columns) const;
  /// Along both axes of [from, from]; gives [to, to].
  std::vector<double> operator()(const std::vector<double>& values) const;

 private:
  struct Piece {
    index_t left;
    double value[2], curvature[2];  // weights of the values and second derivatives at its ends
  };
  std::vector<double> from_;
  std::vector<Piece> pieces_;                  // one for each point of `to`
  std::vector<double> lower_, pivot_, upper_;  // elimination of the tridiagonal system
};

}  // namespace flr::data
