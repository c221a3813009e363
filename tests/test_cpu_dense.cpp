// Matrix products, dense layers and norms of the CPU table against plain loops in double.
#include "dense_reference.hpp"

using namespace dense_test;

namespace {

struct GemmCase {
  index_t m, n, k;
  bool trans_a, trans_b;
  index_t batch0 = 1, batch1 = 1, extra = 0;  // extra: columns between rows in memory
  double alpha = 1, beta = 0;
  bool share_b = false;
};

const GemmCase gemm_cases[] = {
    {1, 1, 1, false, false},
    {7, 5, 3, false, true},
    {6, 16, 4, true, false, 1, 1, 3},
    {13, 33, 70, true, true, 2, 3, 1},
    {1, 64, 300, false, false},
    {200, 1, 64, false, true},
    {1944, 1, 64, false, true},
    {97, 3, 41, false, false, 1, 1, 2},
    {64, 64, 1944, true, false},  // a sum cut into stretches
    {31, 37, 1001, true, false, 2, 1, 5, -0.5, 0.25},
    {64, 8, 972, false, false, 2, 8, 0, 1, 0, true},  // one B for all batches
    {65, 1100, 9, false, true, 1, 2, 0, 2, 1},
    {3, 4, 5, false, true, 50, 60},  // many small products
    {200, 193, 205, false, false},   // large in all extents
    {257, 300, 193, true, true, 1, 2, 7, 1.5, -1},
    {2, 3, 0, false, false, 1, 1, 0, 1, 0.5},  // an empty sum
    {0, 3, 2, false, false},
};

TEST_CASE_TEMPLATE("products over layouts, batches, alpha and beta", T, float, double) {
  for (const GemmCase& c : gemm_cases) {
    CAPTURE(c.m);
    CAPTURE(c.n);
    CAPTURE(c.k);
    CAPTURE(c.trans_a);
    CAPTURE(c.trans_b);
    GemmParams<T> p;
    p.m = c.m, p.n = c.n, p.k = c.k, p.trans_a = c.trans_a, p.trans_b = c.trans_b;
    p.alpha = static_cast<T>(c.alpha), p.beta = static_cast<T>(c.beta);
    p.lda = (c.trans_a ? c.m : c.k) + c.extra, p.ldb = (c.trans_b ? c.k : c.n) + c.extra;
    p.ldc = c.n + c.extra;
    const index_t a_size = p.lda * (c.trans_a ? c.k : c.m), c_size = p.ldc * c.m;
    const index_t b_size = p.ldb * (c.trans_b ? c.n : c.k), batches = c.batch0 * c.batch1;
    p.batch[0] = c.batch0, p.batch[1] = c.batch1;
    p.batch_a[0] = a_size * c.batch1, p.batch_a[1] = a_size;
    if (!c.share_b) p.batch_b[0] = b_size * c.batch1, p.batch_b[1] = b_size;
    p.batch_c[0] = c_size * c.batch1, p.batch_c[1] = c_size;
    const auto a = values<T>(a_size * batches, 1), b = values<T>(b_size * batches, 2);
    auto before = values<T>(c_size * batches, 3);
    p.a = a.data(), p.b = b.data();

    Values expected = doubles(before), short_sum = expected;
    const auto product = [&](index_t batch, index_t i, index_t j, index_t q) {
      const index_t ia = batch * a_size + (c.trans_a ? q * p.lda + i : i * p.lda + q);
      const index_t ib =
          (c.share_b ? 0 : batch) * b_size + (c.trans_b ? j * p.ldb + q : q * p.ldb + j);
      return double(a[static_cast<std::size_t>(ia)]) * double(b[static_cast<std::size_t>(ib)]);
    };
    for (index_t batch = 0; batch < batches; ++batch)
      for (index_t i = 0; i < c.m; ++i)
        for (index_t j = 0; j < c.n; ++j) {
          double sum = 0;
          for (index_t q = 0; q < c.k; ++q) sum += product(batch, i, j, q);
          const auto at = static_cast<std::size_t>(batch * c_size + i * p.ldc + j);
          const double old = c.beta * double(before[at]);
          expected[at] = c.alpha * sum + old;
          short_sum[at] = c.alpha * (c.k ? sum - product(batch, i, j, c.k - 1) : 1.0) + old;
          if (c.beta == 0) before[at] = static_cast<T>(NAN);  // must not be read
        }
    const auto y = on_any_threads(before, [&](std::vector<T>& out) {
      p.c = out.data();
      cpu_backend<T>().gemm(p);
    });
    CHECK(relative_error(y, expected) <= sum_tolerance<T>(c.k));
    if (c.m) CHECK(relative_error(y, short_sum) > sum_tolerance<T>(c.k));
  }
}

struct LinearCase {
  index_t rows, in, out;
};
const LinearCase linear_cases[] = {{1, 1, 1},   {5, 3, 64},     {203, 64, 64}, {300, 64, 1},
                                   {77, 17, 9}, {130, 100, 70}, {0, 4, 5},     {260, 400, 350}};

TEST_CASE_TEMPLATE("dense layers and their gradients", T, float, double) {
  int call = 0;
  for (const LinearCase& c : linear_cases)
    for (const Activation act : activations) {
      const bool biased = ++call % 3 != 0;
      CAPTURE(c.rows);
      CAPTURE(c.in);
      CAPTURE(c.out);
      CAPTURE(static_cast<int>(act));
      const double scale = 1 / std::sqrt(static_cast<double>(c.in));
      const auto x = values<T>(c.rows * c.in, 1);
      auto w = values<T>(c.out * c.in, 2);
      for (T& v : w) v *= static_cast<T>(scale);
      const auto b = biased ? values<T>(c.out, 3) : std::vector<T>();
      const Values xd = doubles(x), wd = doubles(w);
      const Values pre = affine(c.rows, c.in, c.out, xd, wd, doubles(b));
      Values expected;
      for (const double v : pre) expected.push_back(activation(act, v).value);

      const LinearParams<T> p{c.rows, c.in, c.out, x.data(), w.data(), biased ? b.data() : nullptr,
                              act};
      std::vector<T> saved(pre.size());
      const double tolerance = 4 * sum_tolerance<T>(c.in);
      for (const bool save : {false, true}) {
        const auto y = on_any_threads(std::vector<T>(pre.size()), [&](std::vector<T>& out) {
          LinearParams<T> f = p;
          f.y = out.data(), f.pre = save ? saved.data() : nullptr;
          cpu_backend<T>().linear(f);
        });
        check_near(y, expected, tolerance);
      }
      check_near(saved, pre, tolerance);

      auto dy = values<T>(c.rows * c.out, 4);
      for (T& v : dy) v = std::abs(v);  // a sum that cancels has no relative error to speak of
      Values dp = doubles(dy);
      for (std::size_t i = 0; i < dp.size(); ++i)
        dp[i] *= activation(act, static_cast<double>(saved[i])).slope;
      const AffineGradients g = affine_backward(c.rows, c.in, c.out, xd, wd, dp);
      const auto dx = values<T>(c.rows * c.in, 5), dw = values<T>(c.out * c.in, 6);
      const auto db = values<T>(c.out, 7);
      for (int m = 0; m < 3; ++m) {
        const GradMode dx_mode = modes[m], dw_mode = modes[(m + 1) % 3],
                       db_mode = modes[(m + 2) % 3];
        std::vector<T> all = dx;
        all.insert(all.end(), dw.begin(), dw.end());
        all.insert(all.end(), db.begin(), db.end());
        const auto got = on_any_threads(all, [&](std::vector<T>& out) {
          T* to = out.data();
          cpu_backend<T>().linear_backward({c.rows, c.in, c.out, x.data(), w.data(),
                                            act == Activation::identity ? nullptr : saved.data(),
                                            dy.data(), act, to, to + dx.size(),
                                            to + dx.size() + dw.size(), dx_mode, dw_mode, db_mode});
        });
        const auto part = [&](std::size_t from, std::size_t n) {
          return std::vector<T>(got.begin() + std::ptrdiff_t(from),
                                got.begin() + std::ptrdiff_t(from + n));
        };
        check_near(part(0, dx.size()), received(dx_mode, doubles(dx), g.dx),
                   4 * sum_tolerance<T>(c.out));
        check_near(part(dx.size(), dw.size()), received(dw_mode, doubles(dw), g.dw),
                   4 * sum_tolerance<T>(c.rows));
        check_near(part(dx.size() + dw.size(), db.size()), received(db_mode, doubles(db), g.db),
                   4 * sum_tolerance<T>(c.rows));
      }
    }
}

TEST_CASE_TEMPLATE("activations keep their digits, and infinities and NaN their places", T, float,
                   double) {
  std::vector<T> x;
  for (int i = -4000; i <= 4000; ++i) x.push_back(static_cast<T>(i * 0.005));
  const auto n = static_cast<index_t>(x.size());
  const T one = 1;
  for (const Activation act : activations) {
    CAPTURE(static_cast<int>(act));
    std::vector<T> y(x.size()), slope(x.size());
    cpu_backend<T>().linear({n, 1, 1, x.data(), &one, nullptr, act, y.data()});
    const std::vector<T> ones(x.size(), one);
    cpu_backend<T>().linear_backward({n, 1, 1, x.data(), &one, x.data(), ones.data(), act,
                                      slope.data(), nullptr, nullptr, GradMode::overwrite});
    double worst = 0, worst_slope = 0, worst_shifted = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double at = static_cast<double>(x[i]);
      const Point expected = activation(act, at);
      // A rounded exponent t costs |t| roundings of eᵗ. In double erf rounds near −1.
      const double size = std::abs(expected.value);
      double allowed = size * (8 + 4 * std::abs(std::log(size + 1e-300)));
      if (std::is_same_v<T, double> && act == Activation::gelu) allowed += std::abs(at);
      allowed = allowed * unit<T> + 1e-35;  // the smallest floats
      worst = std::fmax(worst, std::abs(double(y[i]) - expected.value) / allowed);
      worst_slope = std::fmax(worst_slope, std::abs(double(slope[i]) - expected.slope));
      const double shifted = activation(act, at + 1e-3).slope;
      worst_shifted = std::fmax(worst_shifted, std::abs(double(slope[i]) - shifted));
    }
    CHECK(worst <= 1);
    CHECK(worst_slope <= 16 * unit<T>);
    if (act != Activation::identity) CHECK(worst_shifted > 16 * unit<T>);

    const std::vector<T> special{T(INFINITY), T(NAN), T(1)};
    std::vector<T> z(3);
    cpu_backend<T>().linear({3, 1, 1, special.data(), &one, nullptr, act, z.data()});
    const bool bounded = act == Activation::tanh || act == Activation::sigmoid;
    CHECK(z[0] == (bounded ? one : special[0]));
    CHECK(std::isnan(z[1]));
  }
}

TEST_CASE_TEMPLATE("norms and their gradients", T, float, double) {
  for (const bool rms : {false, true})
    for (const auto& [rows, cols] :
         {std::pair<index_t, index_t>{1, 1}, {3, 5}, {500, 64}, {41, 67}, {2, 5000}, {0, 4}})
      for (const bool affine : {false, true}) {
        CAPTURE(rms);
        CAPTURE(rows);
        CAPTURE(cols);
        CAPTURE(affine);
        const double eps = 1e-2, n = static_cast<double>(cols);
        auto x = values<T>(rows * cols, 1);
        for (T& v : x) v += T(100);  // statistics in one pass would lose five digits
        const auto w = values<T>(cols, 2), b = values<T>(cols, 3), dy = values<T>(rows * cols, 4);
        Values y(x.size()), means, rstds, dx(x.size()), dw(w.size()), db(w.size());
        for (index_t r = 0; r < rows; ++r) {
          const auto at = [&](index_t j) { return static_cast<std::size_t>(r * cols + j); };
          long double sum = 0;
          double square = 0, g_mean = 0, gx_mean = 0;
          for (index_t j = 0; j < cols && !rms; ++j) sum += x[at(j)];
          const auto mean = static_cast<double>(sum / n);
          for (index_t j = 0; j < cols; ++j) square += std::pow(double(x[at(j)]) - mean, 2) / n;
          const double rstd = 1 / std::sqrt(square + eps);
          means.push_back(mean), rstds.push_back(rstd);
          const auto g = [&](index_t j) {
            return double(dy[at(j)]) * (affine ? double(w[static_cast<std::size_t>(j)]) : 1.0);
          };
          const auto normed = [&](index_t j) { return (double(x[at(j)]) - mean) * rstd; };
          for (index_t j = 0; j < cols; ++j) {
            const auto column = static_cast<std::size_t>(j);
            y[at(j)] =
                normed(j) * (affine ? double(w[column]) : 1.0) + (affine ? double(b[column]) : 0.0);
            dw[column] += double(dy[at(j)]) * normed(j), db[column] += double(dy[at(j)]);
            g_mean += rms ? 0 : g(j) / n, gx_mean += g(j) * normed(j) / n;
          }
          for (index_t j = 0; j < cols; ++j)
            dx[at(j)] = rstd * (g(j) - g_mean - normed(j) * gx_mean);
        }
        // The input's own rounding near 100 is part of x; the mean's is what remains.
        const double tolerance = 300 * unit<T>;
        std::vector<T> mean(static_cast<std::size_t>(rows)), rstd(mean.size());
        const auto got = on_any_threads(std::vector<T>(x.size()), [&](std::vector<T>& out) {
          cpu_backend<T>().norm({rows, cols, rms, static_cast<T>(eps), x.data(),
                                 affine ? w.data() : nullptr, affine ? b.data() : nullptr,
                                 out.data(), mean.data(), rstd.data()});
        });
        if (cols > 1 || rms) check_near(got, y, tolerance);
        if (!rms) check_near(mean, means, 4 * unit<T>);
        check_near(rstd, rstds, 100 * unit<T>);

        for (int m = 0; m < 3; ++m) {
          const GradMode dx_mode = modes[m], dw_mode = modes[(m + 1) % 3],
                         db_mode = modes[(m + 2) % 3];
          const auto x0 = values<T>(rows * cols, 5), w0 = values<T>(cols, 6),
                     b0 = values<T>(cols, 7);
          std::vector<T> to_w, to_b;
          const auto to_x = on_any_threads(x0, [&](std::vector<T>& out) {
            to_w = w0, to_b = b0;
            cpu_backend<T>().norm_backward(
                {rows, cols, rms, x.data(), dy.data(), affine ? w.data() : nullptr, mean.data(),
                 rstd.data(), out.data(), to_w.data(), to_b.data(), dx_mode, dw_mode, db_mode});
          });
          if (cols == 1) continue;  // dx is zero but for rounding and eps
          check_near(to_x, received(dx_mode, doubles(x0), dx), rms ? 4000 * unit<T> : tolerance);
          check_near(to_w, received(dw_mode, doubles(w0), dw), 4 * tolerance);
          check_near(to_b, received(db_mode, doubles(b0), db), sum_tolerance<T>(rows));
        }
      }
}

}  // namespace
