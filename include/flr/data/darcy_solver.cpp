#include "flr/data/darcy_solver.hpp"

#include <cmath>

// The order of additions must not depend on how many threads Eigen would take.
#define EIGEN_DONT_PARALLELIZE
#include <Eigen/SparseCholesky>

#include "flr/data/darcy_field.hpp"

namespace flr::data {

namespace {

// The scheme on the inner nodes, times the square of the spacing.
GridMatrix five_point(const std::vector<double>& a, index_t nodes) {
  const index_t m = nodes - 2;
  GridMatrix matrix{m, {}, {}, {}};
  const auto face = [&](index_t p, index_t q) { return (a[p] + a[q]) / 2; };
  for (index_t i = 1; i <= m; ++i)
    for (index_t j = 1; j <= m; ++j) {
      const index_t p = i * nodes + j;
      const double right = face(p, p + 1), down = face(p, p + nodes);
      matrix.diagonal.push_back(face(p, p - 1) + right + face(p, p - nodes) + down);
      matrix.right.push_back(-right);
      matrix.down.push_back(-down);
    }
  return matrix;
}

Eigen::SparseMatrix<double> lower_triangle(const GridMatrix& matrix) {
  const index_t m = matrix.m;
  std::vector<Eigen::Triplet<double>> entries;
  for (index_t p = 0; p < m * m; ++p) {
    const auto at = [&](index_t q, double value) {
      entries.emplace_back(static_cast<int>(q), static_cast<int>(p), value);
    };
    at(p, matrix.diagonal[p]);
    if (p % m + 1 < m) at(p + 1, matrix.right[p]);
    if (p + m < m * m) at(p + m, matrix.down[p]);
  }
  Eigen::SparseMatrix<double> lower(m * m, m * m);
  lower.setFromTriplets(entries.begin(), entries.end());
  return lower;
}

std::vector<double> inner(const std::vector<double>& values, index_t nodes, double scale) {
  std::vector<double> result;
  for (index_t i = 1; i + 1 < nodes; ++i)
    for (index_t j = 1; j + 1 < nodes; ++j) result.push_back(values[i * nodes + j] * scale);
  return result;
}

std::vector<double> with_zero_edge(const std::vector<double>& values, index_t nodes) {
  std::vector<double> result(static_cast<std::size_t>(nodes * nodes));
  auto next = values.begin();
  for (index_t i = 1; i + 1 < nodes; ++i)
    for (index_t j = 1; j + 1 < nodes; ++j) result[i * nodes + j] = *next++;
  return result;
}

std::vector<double> nodes_of(index_t grid) {
  std::vector<double> x;
  for (index_t i = 0; i < grid; ++i)
    x.push_back(static_cast<double>(i) / static_cast<double>(grid - 1));
  return x;
}

}  // namespace

struct DarcyNodes::Sparse {
  Eigen::SimplicialLDLT<Eigen::SparseMatrix<double>> factors;
  bool analysed = false;
};

DarcyNodes::DarcyNodes(index_t nodes)
    : nodes_((check(nodes >= 3, "[darcy] expected at least 3 nodes along an axis; got {}", nodes),
              nodes)),
      cholesky_(nodes - 2),
      sparse_(std::make_unique<Sparse>()) {}
DarcyNodes::~DarcyNodes() = default;
DarcyNodes::DarcyNodes(DarcyNodes&&) noexcept = default;

std::vector<double> DarcyNodes::solve(const std::vector<double>& a, const std::vector<double>& f) {
  const auto size = static_cast<std::size_t>(nodes_ * nodes_);
  check(a.size() == size && f.size() == size,
        "[darcy] expected {} coefficients and right-hand sides; got {} and {}", size, a.size(),
        f.size());
  if (!cholesky_.factorize(five_point(a, nodes_))) return solve_sparse(a, f);
  std::vector<double> x = inner(f, nodes_, std::pow(static_cast<double>(nodes_ - 1), -2));
  cholesky_.solve(x);
  return with_zero_edge(x, nodes_);
}

std::vector<double> DarcyNodes::solve_sparse(const std::vector<double>& a,
                                             const std::vector<double>& f) {
  const Eigen::SparseMatrix<double> lower = lower_triangle(five_point(a, nodes_));
  if (!sparse_->analysed) sparse_->factors.analyzePattern(lower);
  sparse_->analysed = true;
  sparse_->factors.factorize(lower);
  check(sparse_->factors.info() == Eigen::Success,
        "[darcy] the coefficient gives a singular matrix");
  std::vector<double> x = inner(f, nodes_, std::pow(static_cast<double>(nodes_ - 1), -2));
  Eigen::Map<Eigen::VectorXd> values(x.data(), static_cast<index_t>(x.size()));
  values = sparse_->factors.solve(values).eval();
  return with_zero_edge(x, nodes_);
}

DarcyCells::DarcyCells(index_t grid) : DarcyCells(grid, cell_centres(grid)) {}

DarcyCells::DarcyCells(index_t grid, std::vector<double> points)
    : grid_(grid),
      to_nodes_(cell_centres(grid), nodes_of(grid)),
      from_nodes_(nodes_of(grid), std::move(points)),
      nodes_(grid) {}

std::vector<double> DarcyCells::solve(const std::vector<double>& a, double f) {
  const std::vector<double> source(static_cast<std::size_t>(grid_ * grid_), f);
  return from_nodes_(nodes_.solve(to_nodes_(a), source));
}

}  // namespace flr::data
