// The fused residual MLP of the CPU table against its definition in double.
#include "dense_reference.hpp"

using namespace dense_test;

namespace {

struct MlpCase {
  index_t rows, in, hid, out;
  int layers;
  bool residual_in, residual_out;
  Activation act = Activation::gelu_tanh;
};

const MlpCase cases[] = {
    {1, 1, 1, 1, 0, false, false},
    {5, 3, 8, 2, 0, false, false},
    {203, 64, 64, 64, 3, true, true},
    {203, 64, 64, 64, 3, true, false, Activation::gelu},
    {203, 64, 64, 64, 2, false, true, Activation::silu},
    {700, 5, 20, 1, 1, false, false, Activation::relu},
    {131, 33, 33, 7, 2, true, false, Activation::tanh},
    {67, 7, 130, 130, 1, false, true, Activation::sigmoid},
    {40, 9, 9, 9, max_mlp_layers, true, true, Activation::identity},
    {0, 4, 4, 4, 1, true, true},
};

/// The layers' extents and parameters: weights and biases in turn.
template <class T>
struct Mlp {
  explicit Mlp(const MlpCase& c) : c(c) {
    for (int l = 0; l < c.layers + 2; ++l) {
      w.push_back(values<T>(out(l) * in(l), 10 + unsigned(l)));
      for (T& v : w.back()) v *= static_cast<T>(0.7 / std::sqrt(double(in(l))));
      b.push_back(values<T>(out(l), 40 + unsigned(l)));
    }
  }
  index_t in(int l) const { return l == 0 ? c.in : c.hid; }
  index_t out(int l) const { return l == c.layers + 1 ? c.out : c.hid; }
  MlpCase c;
  std::vector<std::vector<T>> w, b;
};

void add_to(Values& x, const Values& y) {
  for (std::size_t i = 0; i < x.size(); ++i) x[i] += y[i];
}

/// p₀ … p_L, a₀ … a_L and y by the formulas of ResidualMlpParams.
struct Reference {
  std::vector<Values> pre, a;
  Values y;

  template <class T>
  Reference(const Mlp<T>& mlp, const Values& x) {
    const MlpCase& c = mlp.c;
    for (int l = 0; l <= c.layers; ++l) {
      const auto i = static_cast<std::size_t>(l);
      const Values& from = l == 0 ? x : a.back();
      pre.push_back(affine(c.rows, mlp.in(l), c.hid, from, doubles(mlp.w[i]), doubles(mlp.b[i])));
      Values next;
      for (const double v : pre.back()) next.push_back(activation(c.act, v).value);
      if (l > 0 || c.residual_in) add_to(next, from);
      a.push_back(next);
    }
    y = affine(c.rows, c.hid, c.out, a.back(), doubles(mlp.w.back()), doubles(mlp.b.back()));
    if (c.residual_out) add_to(y, a.back());
  }
};

TEST_CASE_TEMPLATE("residual MLP: value and pre-activations", T, float, double) {
  for (const MlpCase& c : cases) {
    CAPTURE(c.rows);
    CAPTURE(c.in);
    CAPTURE(c.hid);
    CAPTURE(c.out);
    CAPTURE(c.layers);
    const Mlp<T> mlp(c);
    const auto x = values<T>(c.rows * c.in, 1);
    const Reference reference(mlp, doubles(x));
    ResidualMlpParams<T> p{c.rows,   c.in,          c.hid,          c.out,
                           c.layers, c.residual_in, c.residual_out, c.act};
    p.x = x.data();
    for (std::size_t l = 0; l < mlp.w.size(); ++l)
      p.w[l] = mlp.w[l].data(), p.b[l] = mlp.b[l].data();
    REQUIRE(cpu_backend<T>().supports_residual_mlp(p, nullptr));
    const double tolerance = (2.0 + c.layers) * 4 * sum_tolerance<T>(c.hid);
    Values all = reference.y;
    for (const Values& v : reference.pre) all.insert(all.end(), v.begin(), v.end());
    const auto got = on_any_threads(std::vector<T>(all.size()), [&](std::vector<T>& out) {
      p.y = out.data(), p.pre = out.data() + reference.y.size();
      cpu_backend<T>().residual_mlp(p);
    });
    check_near(got, all, tolerance);
    const auto alone = on_any_threads(std::vector<T>(reference.y.size()), [&](std::vector<T>& out) {
      p.y = out.data(), p.pre = nullptr;
      cpu_backend<T>().residual_mlp(p);
    });
    CHECK(same_bits(alone, std::vector<T>(got.begin(), got.begin() + c.rows * c.out)));
  }
}

TEST_CASE_TEMPLATE("residual MLP: gradients in every mode", T, float, double) {
  for (const MlpCase& c : cases)
    for (int shift = 0; shift < 3; ++shift) {
      CAPTURE(c.rows);
      CAPTURE(c.in);
      CAPTURE(c.hid);
      CAPTURE(c.out);
      CAPTURE(c.layers);
      CAPTURE(shift);
      const Mlp<T> mlp(c);
      const auto x = values<T>(c.rows * c.in, 1), dy = values<T>(c.rows * c.out, 2);
      const Values xd = doubles(x);
      const Reference reference(mlp, xd);
      std::vector<T> pre;
      for (const Values& v : reference.pre)
        for (const double e : v) pre.push_back(static_cast<T>(e));

      // The reference walks the layers back.
      const int last = c.layers + 1;
      std::vector<AffineGradients> g(static_cast<std::size_t>(last) + 1);
      g.back() = affine_backward(c.rows, c.hid, c.out, reference.a.back(), doubles(mlp.w.back()),
                                 doubles(dy));
      Values da = g.back().dx;
      if (c.residual_out) add_to(da, doubles(dy));
      for (int l = c.layers; l >= 0; --l) {
        const auto i = static_cast<std::size_t>(l);
        Values dp = da;
        for (std::size_t e = 0; e < dp.size(); ++e)
          dp[e] *= activation(c.act, reference.pre[i][e]).slope;
        g[i] = affine_backward(c.rows, mlp.in(l), c.hid, l ? reference.a[i - 1] : xd,
                               doubles(mlp.w[i]), dp);
        if (l > 0 || c.residual_in) add_to(g[i].dx, da);
        da = g[i].dx;
      }

      ResidualMlpBackwardParams<T> p{c.rows,   c.in,          c.hid,          c.out,
                                     c.layers, c.residual_in, c.residual_out, c.act};
      p.x = x.data(), p.pre = pre.data(), p.dy = dy.data();
      const auto mode = [&](int i) { return modes[(i + shift) % 3]; };
      std::vector<T> start = x;
      Values expected = received(mode(0), doubles(start), da);
      for (int l = 0; l <= last; ++l) {
        const auto i = static_cast<std::size_t>(l);
        const auto dw = values<T>(index_t(mlp.w[i].size()), 60 + unsigned(l));
        const auto db = values<T>(mlp.out(l), 80 + unsigned(l));
        p.w[l] = mlp.w[i].data();
        p.dw_mode[l] = mode(l), p.db_mode[l] = mode(l + 1);
        for (const double v : received(mode(l), doubles(dw), g[i].dw)) expected.push_back(v);
        for (const double v : received(mode(l + 1), doubles(db), g[i].db)) expected.push_back(v);
        start.insert(start.end(), dw.begin(), dw.end());
        start.insert(start.end(), db.begin(), db.end());
      }
      p.dx_mode = mode(0);
      const auto got = on_any_threads(start, [&](std::vector<T>& out) {
        T* to = out.data();
        p.dx = to, to += x.size();
        for (int l = 0; l <= last; ++l) {
          p.dw[l] = to, to += mlp.w[static_cast<std::size_t>(l)].size();
          p.db[l] = to, to += mlp.out(l);
        }
        cpu_backend<T>().residual_mlp_backward(p);
      });
      // Each gradient is judged by its own size.
      std::size_t from = 0;
      const auto compare = [&](std::size_t n) {
        const auto begin = std::ptrdiff_t(from), end = std::ptrdiff_t(from += n);
        check_near(std::vector<T>(got.begin() + begin, got.begin() + end),
                   Values(expected.begin() + begin, expected.begin() + end),
                   (2.0 + c.layers) * 8 * sum_tolerance<T>(c.rows + c.hid));
      };
      compare(x.size());
      for (int l = 0; l <= last; ++l) {
        compare(mlp.w[static_cast<std::size_t>(l)].size());
        compare(static_cast<std::size_t>(mlp.out(l)));
      }
    }
}

TEST_CASE("residual MLP declines what it does not compute, and says why") {
  ResidualMlpParams<float> p{8, 4000, 64, 64, 1};
  std::string why;
  CHECK_FALSE(cpu_backend<float>().supports_residual_mlp(p, &why));
  CHECK(why == "width 4000, at most 512");
  p.in = 64, p.layers = max_mlp_layers + 1;
  CHECK_FALSE(cpu_backend<float>().supports_residual_mlp(p, &why));
  p.layers = 1, p.in = 32, p.residual_in = true;
  CHECK_THROWS_WITH_AS(cpu_backend<float>().residual_mlp(p),
                       doctest::Contains("equal widths around a residual connection"), Error);
}

}  // namespace
