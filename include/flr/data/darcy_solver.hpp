// Steady Darcy flow, −∇·(a ∇u) = f on the unit square with u = 0 on its edge, as the published
// benchmark solves it.
#pragma once

#include <memory>
#include <vector>

#include "flr/data/grid_cholesky.hpp"
#include "flr/data/spline.hpp"

namespace flr::data {

/// The five-point scheme on K × K nodes j / (K − 1): a face takes the arithmetic mean of the
/// coefficients of its two nodes. Second order for smooth coefficients. Fields are row-major
/// [K, K]. One object serves one thread; its elimination order is found once.
class DarcyNodes {
 public:
  explicit DarcyNodes(index_t nodes);
  ~DarcyNodes();
  DarcyNodes(DarcyNodes&&) noexcept;

  /// u at the nodes; exact up to rounding. Takes nested-dissection Cholesky; where overshooting
  /// coefficients make the matrix indefinite, Eigen's sparse L D Lᵀ instead.
  std::vector<double> solve(const std::vector<double>& a, const std::vector<double>& f);
  /// Always Eigen's sparse L D Lᵀ: slower, and the other's oracle.
  std::vector<double> solve_sparse(const std::vector<double>& a, const std::vector<double>& f);

 private:
  struct Sparse;  // Eigen's factorisation
  index_t nodes_;
  GridCholesky cholesky_;
  std::unique_ptr<Sparse> sparse_;
};

/// The published solver on cells: the coefficient goes from cell centres to nodes by a cubic
/// spline, the solution comes back by another. The first spline overshoots at jumps, most of all on
/// the edge, half a cell beyond the outermost centres: with coefficients 12 and 3 nearly every
/// sample has nodes of the edge below zero (the matrix is still positive definite but for one
/// sample in hundreds). This is the recipe, and the reason for small negative u near edges.
class DarcyCells {
 public:
  /// As many nodes as cells. The solution is evaluated at `points` of each axis; the cell centres
  /// unless said otherwise.
  explicit DarcyCells(index_t grid);
  DarcyCells(index_t grid, std::vector<double> points);

  /// a [grid, grid] at cell centres, f constant; gives u [points, points].
  std::vector<double> solve(const std::vector<double>& a, double f);

 private:
  index_t grid_;
  SplineGrid to_nodes_, from_nodes_;
  DarcyNodes nodes_;
};

}  // namespace flr::data
