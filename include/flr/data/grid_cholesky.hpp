// Direct solution of five-point schemes: Cholesky factorisation by nested dissection.
// Source: George, "Nested dissection of a regular finite element mesh", SIAM J. Numer. Anal. 10
// (1973); the fronts are dense, after Duff and Reid, ACM TOMS 9 (1983).
#pragma once

#include <cstdint>
#include <vector>

#include "flr/core/shape.hpp"

namespace flr::data {

/// A symmetric matrix on an m × m grid whose rows couple a node with its four neighbours only.
/// Node (i, j) has number i·m + j. Every list has m² entries.
struct GridMatrix {
  index_t m = 0;
  std::vector<double> diagonal;
  std::vector<double> right;  ///< coupling of (i, j) and (i, j+1); the last of each row is unused
  std::vector<double> down;   ///< coupling of (i, j) and (i+1, j); the last row is unused
};

/// The elimination order is found once per grid size, and serves any number of matrices. A line of
/// nodes halves the grid and is eliminated after both halves, recursively; what a block leaves
/// behind is a dense matrix on the ring of nodes around it, so all the work is done by dense
/// matrix products. One object serves one thread.
class GridCholesky {
 public:
  /// `leaf`: blocks of at most so many nodes are not halved any further.
  explicit GridCholesky(index_t m, index_t leaf = 24);

  /// Returns false where the matrix is not positive definite.
  bool factorize(const GridMatrix& matrix);

  /// Replaces the right-hand side by the solution; needs a factorisation.
  void solve(std::vector<double>& x) const;

 private:
  struct Block {
    index_t top, bottom, left, right;  // rows [top, bottom), columns [left, right)
    index_t size() const { return (bottom - top) * (right - left); }
  };
  struct Front {
    std::vector<std::int32_t> nodes;  // the pivots first, then the ring
    index_t pivots = 0;
    int child[2] = {-1, -1};
    std::vector<std::int32_t> place[2];  // where the child's ring lies among `nodes`
    std::vector<double> panel;           // columns of the factor, nodes × pivots
  };

  int dissect(const Block& block);
  void append_ring(const Block& block, std::vector<std::int32_t>& nodes) const;
  void link(Front& front, int which, int child);
  void assemble(const GridMatrix& matrix, Front& front);
  bool eliminate(Front& front, std::vector<double>& rest);

  index_t m_, leaf_;
  std::vector<Front> fronts_;           // children before parents
  std::vector<std::int32_t> position_;  // of a node in the front at hand, else −1
};

}  // namespace flr::data
