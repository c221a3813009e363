#include "flr/data/grid_cholesky.hpp"

// The order of additions must not depend on how many threads Eigen would take.
#define EIGEN_DONT_PARALLELIZE
#include <Eigen/Cholesky>
#include <Eigen/Core>

namespace flr::data {

namespace {
using Matrix = Eigen::Map<Eigen::MatrixXd, 0, Eigen::OuterStride<>>;

Matrix view(double* values, index_t rows, index_t columns, index_t stride) {
  return Matrix(values, rows, columns, Eigen::OuterStride<>(stride));
}
}  // namespace

GridCholesky::GridCholesky(index_t m, index_t leaf) : m_(m), leaf_(leaf) {
  check(m >= 1 && m < 32768 && leaf >= 1,
        "[grid_cholesky] expected a grid of 1 to 32767 nodes along an axis; got {}", m);
  position_.assign(static_cast<std::size_t>(m * m), -1);
  dissect({0, m, 0, m});
}

int GridCholesky::dissect(const Block& block) {
  int child[2] = {-1, -1};
  Block pivots = block;
  if (block.size() > leaf_) {
    Block halves[2] = {block, block};
    if (block.bottom - block.top >= block.right - block.left) {
      pivots.top = halves[0].bottom = (block.top + block.bottom) / 2;
      pivots.bottom = halves[1].top = pivots.top + 1;
    } else {
      pivots.left = halves[0].right = (block.left + block.right) / 2;
      pivots.right = halves[1].left = pivots.left + 1;
    }
    for (int h = 0; h < 2; ++h)
      if (halves[h].size() > 0) child[h] = dissect(halves[h]);
  }
  Front front;
  for (index_t i = pivots.top; i < pivots.bottom; ++i)
    for (index_t j = pivots.left; j < pivots.right; ++j)
      front.nodes.push_back(static_cast<std::int32_t>(i * m_ + j));
  front.pivots = static_cast<index_t>(front.nodes.size());
  append_ring(block, front.nodes);
  for (int h = 0; h < 2; ++h) link(front, h, child[h]);
  fronts_.push_back(std::move(front));
  return static_cast<int>(fronts_.size()) - 1;
}

void GridCholesky::append_ring(const Block& block, std::vector<std::int32_t>& nodes) const {
  const auto add = [&](index_t i, index_t j) {
    if (i >= 0 && i < m_ && j >= 0 && j < m_)
      nodes.push_back(static_cast<std::int32_t>(i * m_ + j));
  };
  for (index_t j = block.left; j < block.right; ++j) add(block.top - 1, j);
  for (index_t i = block.top; i < block.bottom; ++i) add(i, block.left - 1);
  for (index_t i = block.top; i < block.bottom; ++i) add(i, block.right);
  for (index_t j = block.left; j < block.right; ++j) add(block.bottom, j);
}

void GridCholesky::link(Front& front, int which, int child) {
  if (child < 0) return;
  front.child[which] = child;
  const Front& below = fronts_[static_cast<std::size_t>(child)];
  const auto n = static_cast<std::int32_t>(front.nodes.size());
  for (std::int32_t i = 0; i < n; ++i) position_[front.nodes[i]] = i;
  for (std::size_t i = below.pivots; i < below.nodes.size(); ++i)
    front.place[which].push_back(position_[below.nodes[i]]);
  for (std::int32_t node : front.nodes) position_[node] = -1;
}

// A coupling enters where the first of its two nodes is eliminated: there the other one is a pivot
// too or lies on the ring, while nodes that went earlier are not in the front at all.
void GridCholesky::assemble(const GridMatrix& matrix, Front& front) {
  const auto n = static_cast<std::int32_t>(front.nodes.size());
  front.panel.assign(static_cast<std::size_t>(n * front.pivots), 0.0);
  for (std::int32_t i = 0; i < n; ++i) position_[front.nodes[i]] = i;
  for (std::int32_t p = 0; p < front.pivots; ++p) {
    const std::int32_t node = front.nodes[p];
    const index_t row = node / m_, column = node % m_;
    double* entries = front.panel.data() + p * n;
    entries[p] += matrix.diagonal[node];
    const auto couple = [&](index_t other, double value) {
      const std::int32_t q = position_[other];
      if (q > p) entries[q] += value;
    };
    if (column + 1 < m_) couple(node + 1, matrix.right[node]);
    if (column > 0) couple(node - 1, matrix.right[node - 1]);
    if (row + 1 < m_) couple(node + m_, matrix.down[node]);
    if (row > 0) couple(node - m_, matrix.down[node - m_]);
  }
  for (std::int32_t node : front.nodes) position_[node] = -1;
}

bool GridCholesky::eliminate(Front& front, std::vector<double>& rest) {
  const auto n = static_cast<index_t>(front.nodes.size()), k = front.pivots, r = n - k;
  Matrix top = view(front.panel.data(), k, k, n);
  Eigen::LLT<Eigen::Ref<Eigen::MatrixXd>> in_place(top);
  if (in_place.info() != Eigen::Success) return false;
  if (r == 0) return true;
  Matrix below = view(front.panel.data() + k, r, k, n);
  top.triangularView<Eigen::Lower>().transpose().solveInPlace<Eigen::OnTheRight>(below);
  view(rest.data(), r, r, r).selfadjointView<Eigen::Lower>().rankUpdate(below, -1.0);
  return true;
}

bool GridCholesky::factorize(const GridMatrix& matrix) {
  check(matrix.m == m_, "[grid_cholesky] expected a matrix on {} nodes along an axis; got {}", m_,
        matrix.m);
  // Lower triangles, on the rings, of what the blocks eliminated so far leave behind.
  std::vector<std::vector<double>> rests(fronts_.size());
  for (std::size_t f = 0; f < fronts_.size(); ++f) {
    Front& front = fronts_[f];
    assemble(matrix, front);
    const auto n = static_cast<index_t>(front.nodes.size()), k = front.pivots, r = n - k;
    rests[f].assign(static_cast<std::size_t>(r * r), 0.0);
    for (int h = 0; h < 2; ++h) {
      if (front.child[h] < 0) continue;
      std::vector<double>& from = rests[static_cast<std::size_t>(front.child[h])];
      const std::vector<std::int32_t>& place = front.place[h];
      const auto size = static_cast<index_t>(place.size());
      for (index_t b = 0; b < size; ++b)
        for (index_t a = b; a < size; ++a) {
          const index_t row = std::max(place[a], place[b]), column = std::min(place[a], place[b]);
          (column < k ? front.panel[column * n + row] : rests[f][(column - k) * r + row - k]) +=
              from[b * size + a];
        }
      from = {};
    }
    if (!eliminate(front, rests[f])) return false;
  }
  return true;
}

void GridCholesky::solve(std::vector<double>& x) const {
  check(static_cast<index_t>(x.size()) == m_ * m_,
        "[grid_cholesky] expected a right-hand side of {} values; got {}", m_ * m_, x.size());
  std::vector<double> local;
  const auto pass = [&](const Front& front, bool forward) {
    const auto n = static_cast<index_t>(front.nodes.size()), k = front.pivots, r = n - k;
    const Eigen::Map<const Eigen::MatrixXd> panel(front.panel.data(), n, k);
    local.resize(static_cast<std::size_t>(n));
    for (index_t i = 0; i < n; ++i) local[i] = x[front.nodes[i]];
    Eigen::Map<Eigen::VectorXd> values(local.data(), n);
    const auto triangle = panel.topRows(k).triangularView<Eigen::Lower>();
    if (forward) {
      triangle.solveInPlace(values.head(k));
      values.tail(r).noalias() -= panel.bottomRows(r) * values.head(k);
    } else {
      values.head(k).noalias() -= panel.bottomRows(r).transpose() * values.tail(r);
      triangle.transpose().solveInPlace(values.head(k));
    }
    for (index_t i = 0; i < (forward ? n : k); ++i) x[front.nodes[i]] = local[i];
  };
  for (auto front = fronts_.begin(); front != fronts_.end(); ++front) pass(*front, true);
  for (auto front = fronts_.rbegin(); front != fronts_.rend(); ++front) pass(*front, false);
}

}  // namespace flr::data
