// Eigenvalues of a symmetric matrix: Householder's reduction to tridiagonal form, then the implicit
// QL iteration (Golub & Van Loan, Matrix Computations, §8.3). O(n³), no eigenvectors.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "flr/core/error.hpp"

namespace flr::models {

/// The eigenvalues of a symmetric n×n matrix (row-major; the lower triangle is read), largest first.
inline std::vector<double> symmetric_eigenvalues(std::vector<double> a, int n) {
  check(static_cast<int>(a.size()) == n * n, "[eigenvalues] expected {} values, got {}", n * n,
        a.size());
  const auto at = [&](int i, int j) -> double& {
    return a[static_cast<std::size_t>(i) * static_cast<std::size_t>(n) + static_cast<std::size_t>(j)];
  };
  const auto size = static_cast<std::size_t>(n);
  std::vector<double> d(size), e(size, 0), reflector(size), update(size);
  double *D = d.data(), *E = e.data(), *v = reflector.data(), *w = update.data();

  // Column k below the diagonal is reflected onto its first element; the rest of the matrix follows
  // as A ← A − v wᵀ − w vᵀ.
  for (int k = 0; k + 1 < n; ++k) {
    const int m = n - k - 1;
    double norm = 0;
    for (int i = 0; i < m; ++i) {
      v[i] = at(k + 1 + i, k);
      norm += v[i] * v[i];
    }
    norm = std::sqrt(norm);
    D[k] = at(k, k);
    E[k] = v[0] > 0 ? -norm : norm;
    v[0] -= E[k];
    double square = 0;
    for (int i = 0; i < m; ++i) square += v[i] * v[i];
    if (square == 0) continue;
    const double beta = 2 / square;
    double wv = 0;
    for (int i = 0; i < m; ++i) {
      w[i] = 0;
      for (int j = 0; j < m; ++j)
        w[i] += beta * (j <= i ? at(k + 1 + i, k + 1 + j) : at(k + 1 + j, k + 1 + i)) * v[j];
      wv += w[i] * v[i];
    }
    for (int i = 0; i < m; ++i) w[i] -= beta / 2 * wv * v[i];
    for (int i = 0; i < m; ++i)
      for (int j = 0; j <= i; ++j)
        at(k + 1 + i, k + 1 + j) -= v[i] * w[j] + w[i] * v[j];
  }
  if (n > 0) D[n - 1] = at(n - 1, n - 1);

  // Implicit QL with Wilkinson's shift: each sweep chases a bulge from m up to l.
  for (int l = 0; l < n; ++l)
    for (int sweeps = 0;; ++sweeps) {
      int m = l;
      while (m + 1 < n && std::abs(E[m]) > std::numeric_limits<double>::epsilon() *
                                               (std::abs(D[m]) + std::abs(D[m + 1])))
        ++m;
      if (m == l) break;
      check(sweeps < 60, "[eigenvalues] no convergence after {} sweeps", sweeps);
      double g = (D[l + 1] - D[l]) / (2 * E[l]), r = std::hypot(g, 1.0);
      g = D[m] - D[l] + E[l] / (g + std::copysign(r, g));
      double s = 1, c = 1, p = 0;
      int i = m - 1;
      for (; i >= l; --i) {
        const double f = s * E[i], b = c * E[i];
        r = std::hypot(f, g);
        E[i + 1] = r;
        if (r == 0) {
          D[i + 1] -= p;
          E[m] = 0;
          break;
        }
        s = f / r, c = g / r;
        g = D[i + 1] - p;
        r = (D[i] - g) * s + 2 * c * b;
        p = s * r;
        D[i + 1] = g + p;
        g = c * r - b;
      }
      if (r == 0 && i >= l) continue;
      D[l] -= p;
      E[l] = g;
      E[m] = 0;
    }
  std::sort(d.begin(), d.end(), std::greater<>());
  return d;
}

}  // namespace flr::models
