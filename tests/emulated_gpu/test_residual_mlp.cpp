// The float residual MLP's tensor-core kernels, forward and the chain of its backward, on emulated
// warps against double. Weight gradients are products of what the chain leaves, and not here.
#include <doctest/doctest.h>

#include <cmath>
#include <random>

#include "activations.hpp"
#include "flr/core/precision.hpp"
#include "residual_mlp/backward_f32.cuh"

namespace {

using namespace flr;
using Vector = std::vector<double>;

struct Case {
  index_t rows;
  int in, hid, out, layers;
  bool residual_in = false, residual_out = false;
  Activation act = Activation::gelu_tanh;
  GradMode mode = GradMode::overwrite;
};

using emulated::activate, emulated::Error, emulated::slope;

constexpr float untouched = 2;
constexpr std::size_t guard = 8;  ///< numbers behind a result that must stay as they are

class Problem {
 public:
  explicit Problem(const Case& call) : c(call) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    const auto draw = [&](std::size_t n, double size) {
      std::vector<float> x(n);
      for (float& v : x) v = float(size) * normal(random);
      return x;
    };
    const auto rows = std::size_t(c.rows);
    x = draw(rows * std::size_t(c.in), 1), dy = draw(rows * std::size_t(c.out), 1);
    for (int l = 0; l <= last(); ++l) {
      w.push_back(draw(std::size_t(width(l) * width(l + 1)), 1 / std::sqrt(double(width(l)))));
      b.push_back(draw(std::size_t(width(l + 1)), 0.1));
    }
  }

  void check_forward(double bound) const {
    std::vector<float> y(x.size() / std::size_t(c.in) * std::size_t(c.out) + guard, untouched);
    ResidualMlpParams<float> p;
    fill(p);
    p.y = y.data();
    cuda::mlp::forward_tf32(p);
    Error error;
    for (index_t i = 0; i < c.rows; ++i) {
      const Layers u = layers(i);
      for (int o = 0; o < c.out; ++o) error.add(y[std::size_t(i * c.out + o)], u.y[std::size_t(o)]);
    }
    CHECK(error.below(bound));
    for (std::size_t i = y.size() - guard; i < y.size(); ++i) CHECK(y[i] == untouched);
  }

  /// In chunks of `capacity` rows, as the weight gradients take them.
  void check_chain(index_t capacity, double bound) const {
    std::vector<float> dx(x.size() + guard, untouched);
    const auto left = std::size_t((c.layers + 1) * capacity * c.hid);
    std::vector<float> activations(left, NAN), gradients(left, NAN);
    ResidualMlpBackwardParams<float> p;
    fill(p);
    p.dy = dy.data(), p.dx = dx.data(), p.dx_mode = c.mode;
    cuda::mlp::ChunkRows chunk{.capacity = capacity};
    chunk.activations = activations.data(), chunk.gradients = gradients.data();
    Error of_a, of_g, of_x;
    for (; chunk.first < c.rows; chunk.first += capacity) {
      chunk.rows = std::min(capacity, c.rows - chunk.first);
      cuda::mlp::chain_tf32(p, chunk);
      for (index_t i = 0; i < chunk.rows; ++i) {
        const Layers u = layers(chunk.first + i);
        const Layers g = gradients_of(chunk.first + i, u);
        for (int l = 0; l <= c.layers; ++l)
          for (int k = 0; k < c.hid; ++k) {
            const auto at = std::size_t((l * capacity + i) * c.hid + k);
            of_a.add(activations[at], u.a[std::size_t(l)][std::size_t(k)]);
            of_g.add(gradients[at], g.a[std::size_t(l)][std::size_t(k)]);
          }
        for (int k = 0; k < c.in; ++k)
          of_x.add(dx[std::size_t((chunk.first + i) * c.in + k)],
                   c.mode == GradMode::ignore
                       ? double(untouched)
                       : g.y[std::size_t(k)] + (c.mode == GradMode::accumulate ? untouched : 0));
      }
    }
    CHECK(of_a.below(bound));
    CHECK(of_g.below(bound));
    CHECK(of_x.below(bound));
    for (std::size_t i = dx.size() - guard; i < dx.size(); ++i) CHECK(dx[i] == untouched);
  }

 private:
  /// Hidden activations a₀ … a_L with their slopes, and y; or gradients in front of the
  /// activations, and dx.
  struct Layers {
    std::vector<Vector> a, slopes;
    Vector y;
  };

  int last() const { return c.layers + 1; }
  int width(int l) const { return l == 0 ? c.in : l > last() ? c.out : c.hid; }
  double weight(int l, int o, int k) const {
    return w[std::size_t(l)][std::size_t(o * width(l) + k)];
  }
  bool skips(int l) const { return l == last() ? c.residual_out : l > 0 || c.residual_in; }

  template <class P>
  void fill(P& p) const {
    p.rows = c.rows, p.in = c.in, p.hid = c.hid, p.out = c.out, p.layers = c.layers, p.act = c.act;
    p.residual_in = c.residual_in, p.residual_out = c.residual_out;
    p.x = x.data();
    for (std::size_t l = 0; l < w.size(); ++l) p.w[l] = w[l].data(), p.b[l] = b[l].data();
  }

  Layers layers(index_t row) const {
    Layers u;
    Vector v(x.begin() + row * c.in, x.begin() + (row + 1) * c.in);
    for (int l = 0; l <= last(); ++l) {
      Vector next(b[std::size_t(l)].begin(), b[std::size_t(l)].end()), s(next.size());
      for (int o = 0; o < width(l + 1); ++o) {
        double& z = next[std::size_t(o)];
        for (int k = 0; k < width(l); ++k) z += weight(l, o, k) * v[std::size_t(k)];
        s[std::size_t(o)] = slope(c.act, z);
        if (l < last()) z = activate(c.act, z);
        if (skips(l)) z += v[std::size_t(o)];
      }
      v = next;
      if (l < last()) u.a.push_back(v), u.slopes.push_back(s);
    }
    u.y = v;
    return u;
  }
  Layers gradients_of(index_t row, const Layers& u) const {
    Layers g;
    g.a.resize(u.a.size());
    Vector d(dy.begin() + row * c.out, dy.begin() + (row + 1) * c.out);  // of layer l's output
    for (int l = last(); l >= 0; --l) {
      Vector before = d;  // in front of the activation
      for (int o = 0; l < last() && o < c.hid; ++o)
        before[std::size_t(o)] *= u.slopes[std::size_t(l)][std::size_t(o)];
      if (l < last()) g.a[std::size_t(l)] = before;
      Vector e(std::size_t(width(l)), 0.0);
      for (int k = 0; k < width(l); ++k) {
        if (skips(l)) e[std::size_t(k)] = d[std::size_t(k)];
        for (int o = 0; o < width(l + 1); ++o)
          e[std::size_t(k)] += before[std::size_t(o)] * weight(l, o, k);
      }
      d = e;
    }
    g.y = d;
    return g;
  }

  Case c;
  std::vector<float> x, dy;
  std::vector<std::vector<float>> w, b;
};

void check_case(const Case& c) {
  CAPTURE(c.rows);
  CAPTURE(c.in);
  CAPTURE(c.hid);
  CAPTURE(c.layers);
  const Problem problem(c);
  const MatmulPrecision before = matmul_precision();
  for (const bool rounded : {false, true}) {
    CAPTURE(rounded);
    set_matmul_precision(rounded ? MatmulPrecision::tf32 : MatmulPrecision::fp32);
    const double bound = rounded ? 2e-3 : 1e-6;
    problem.check_forward(bound);
    problem.check_chain((c.rows > 200 ? 1 : 2) * 128, bound);
  }
  set_matmul_precision(before);
}

}  // namespace

// On this chip of three multiprocessors tiles are of 16 rows below 96 rows, and longer from there
// on.
TEST_CASE("emulated residual MLP: tiles of 16 rows") {
  check_case({1, 64, 64, 64, 2, true, true, Activation::gelu_tanh, GradMode::accumulate});
  check_case({31, 3, 32, 1, 1, false, false, Activation::silu});
  check_case({33, 64, 64, 64, 2, true, true});
  check_case({70, 80, 80, 33, 0});
}
TEST_CASE("emulated residual MLP: longer tiles, odd widths, several chunks") {
  check_case({131, 64, 64, 64, 3, true, false, Activation::silu, GradMode::ignore});
  check_case({165, 13, 40, 7, 1});
  check_case({97, 128, 128, 128, 1, true, true});
  check_case({100, 256, 256, 200, 0, true, false});
  check_case({401, 8, 32, 32, 1, false, true});
}
