// The CPU table's softmax, losses, embedding and gather against plain loops in double. Backward is
// checked against the formulas written out; gradcheck checks the operations themselves.
#include "cpu_table_values.hpp"

using namespace table_test;

namespace {

struct SoftmaxCase {
  index_t outer, n, inner;
};
const SoftmaxCase softmax_cases[] = {{1, 1, 1},  {7, 13, 1},  {3, 2000, 1}, {300, 8, 1},
                                     {2, 33, 5}, {1, 70, 65}, {5, 3, 130},  {0, 4, 2}};

TEST_CASE_TEMPLATE("softmax and log-softmax", T, float, double, bf16) {
  for (const SoftmaxCase& c : softmax_cases)
    for (const bool log : {false, true}) {
      CAPTURE(c.n);
      CAPTURE(c.inner);
      CAPTURE(log);
      const index_t size = c.outer * c.n * c.inner;
      auto x = values<T>(size, 1);
      for (T& v : x) v = make<T>(value(v) * 20 + 300);  // overflows unless shifted
      std::vector<double> expected(x.size());
      const auto at = [&](index_t o, index_t j, index_t i) {
        return static_cast<std::size_t>((o * c.n + j) * c.inner + i);
      };
      for (index_t o = 0; o < c.outer; ++o)
        for (index_t i = 0; i < c.inner; ++i) {
          double top = -INFINITY, sum = 0;
          for (index_t j = 0; j < c.n; ++j) top = std::fmax(top, value(x[at(o, j, i)]));
          for (index_t j = 0; j < c.n; ++j) sum += std::exp(value(x[at(o, j, i)]) - top);
          for (index_t j = 0; j < c.n; ++j) {
            const double s = value(x[at(o, j, i)]) - top;
            expected[at(o, j, i)] = log ? s - std::log(sum) : std::exp(s) / sum;
          }
        }
      const auto y = on_any_threads(std::vector<T>(x.size()), [&](std::vector<T>& out) {
        cpu_backend<T>().softmax({c.outer, c.n, c.inner, log, x.data(), out.data()});
      });
      check_close(y, expected, 8 * unit<T>);

      const auto dy = values<T>(size, 2), before = values<T>(size, 3);
      for (const GradMode mode : {GradMode::overwrite, GradMode::accumulate}) {
        for (index_t o = 0; o < c.outer; ++o)
          for (index_t i = 0; i < c.inner; ++i) {
            double sum = 0;
            for (index_t j = 0; j < c.n; ++j)
              sum += value(dy[at(o, j, i)]) * (log ? 1 : value(y[at(o, j, i)]));
            for (index_t j = 0; j < c.n; ++j) {
              const double d = value(dy[at(o, j, i)]), v = value(y[at(o, j, i)]);
              expected[at(o, j, i)] =
                  (log ? d - std::exp(v) * sum : v * (d - sum)) +
                  (mode == GradMode::accumulate ? value(before[at(o, j, i)]) : 0);
            }
          }
        const auto dx = on_any_threads(before, [&](std::vector<T>& out) {
          cpu_backend<T>().softmax_backward(
              {c.outer, c.n, c.inner, log, y.data(), dy.data(), out.data(), mode});
        });
        check_close(dx, expected, 16 * unit<T>);
      }
    }
}

TEST_CASE_TEMPLATE("cross-entropy skips ignored rows", T, float, double, bf16) {
  using C = compute_t<T>;
  const index_t rows = 1003, classes = 19;
  const auto z = values<T>(rows * classes, 1);
  auto labels = indices(rows, classes, 2);
  for (std::size_t r = 0; r < labels.size(); r += 5) labels[r] = -100;
  std::vector<double> lse, dz(z.size());
  double total = 0, count = 0;
  for (index_t r = 0; r < rows; ++r) {
    double sum = 0;
    for (index_t j = 0; j < classes; ++j)
      sum += std::exp(value(z[static_cast<std::size_t>(r * classes + j)]));
    lse.push_back(std::log(sum));
    const index_t label = labels[static_cast<std::size_t>(r)];
    if (label < 0) continue;
    total += lse.back() - value(z[static_cast<std::size_t>(r * classes + label)]);
    ++count;
  }
  const double dloss = 0.7;
  for (index_t r = 0; r < rows; ++r)
    for (index_t j = 0; j < classes; ++j) {
      const auto at = static_cast<std::size_t>(r * classes + j), row = static_cast<std::size_t>(r);
      const double p = std::exp(value(z[at]) - lse[row]) - (labels[row] == j);
      dz[at] = labels[row] < 0 ? 0 : p * dloss / count;
    }
  const C upstream = static_cast<C>(dloss);
  const auto saved =
      on_any_threads(std::vector<C>(static_cast<std::size_t>(rows + 2)), [&](std::vector<C>& out) {
        cpu_backend<T>().cross_entropy({rows, classes, -100, z.data(), labels.data(),
                                        out.data() + rows, out.data(), out.data() + rows + 1});
      });
  check_close(std::vector<C>(saved.begin(), saved.end() - 2), lse, 4 * unit<C>);
  CHECK(std::abs(static_cast<double>(saved[static_cast<std::size_t>(rows)]) / (total / count) - 1) <
        4 * unit<C>);
  CHECK(static_cast<double>(saved.back()) == count);
  for (const GradMode mode : {GradMode::overwrite, GradMode::accumulate}) {
    const auto before = values<T>(rows * classes, 3);
    auto expected = dz;
    if (mode == GradMode::accumulate)
      for (std::size_t i = 0; i < dz.size(); ++i) expected[i] += value(before[i]);
    const auto got = on_any_threads(before, [&](std::vector<T>& out) {
      cpu_backend<T>().cross_entropy_backward({rows, classes, -100, z.data(), labels.data(),
                                               saved.data(), &saved.back(), &upstream, out.data(),
                                               mode});
    });
    check_close(got, expected, 8 * unit<T>);
  }
  std::vector<index_t> none(static_cast<std::size_t>(rows), -100);
  auto out = saved;
  cpu_backend<T>().cross_entropy({rows, classes, -100, z.data(), none.data(), out.data() + rows,
                                  out.data(), out.data() + rows + 1});
  CHECK(static_cast<double>(out[static_cast<std::size_t>(rows)]) == 0);
}

TEST_CASE_TEMPLATE("relative losses and both gradients", T, float, double, bf16) {
  using C = compute_t<T>;
  const index_t samples = 3, len = 20011;
  const auto pred = values<T>(samples * len, 1), target = values<T>(samples * len, 2);
  const auto before = values<T>(samples * len, 3);
  const C dloss = static_cast<C>(-1.5);
  for (const int p : {1, 2}) {
    CAPTURE(p);
    std::vector<double> dpred(pred.size()), dtarget(pred.size()), norms;
    double loss = 0;
    for (std::size_t s = 0; s < 3; ++s) {
      const auto begin = s * static_cast<std::size_t>(len),
                 end = begin + static_cast<std::size_t>(len);
      double d = 0, t = 0;
      for (auto i = begin; i < end; ++i) {
        const double e = value(pred[i]) - value(target[i]);
        d += p == 2 ? e * e : std::abs(e);
        t += p == 2 ? value(target[i]) * value(target[i]) : std::abs(value(target[i]));
      }
      if (p == 2) d = std::sqrt(d), t = std::sqrt(t);
      norms.push_back(d), norms.push_back(t);
      loss += d / t / 3;
      for (auto i = begin; i < end; ++i) {
        const double e = value(pred[i]) - value(target[i]), v = value(target[i]);
        const double de = p == 2 ? e / d : (e > 0) - (e < 0),
                     dv = p == 2 ? v / t : (v > 0) - (v < 0);
        dpred[i] = -1.5 / 3 * de / t;
        dtarget[i] = -dpred[i] + 1.5 / 3 * d / (t * t) * dv + value(before[i]);
      }
    }
    const auto saved = on_any_threads(std::vector<C>(7), [&](std::vector<C>& out) {
      cpu_backend<T>().relative_loss(
          {samples, len, p, pred.data(), target.data(), out.data() + 6, out.data()});
    });
    check_close(std::vector<C>(saved.begin(), saved.end() - 1), norms, 2 * unit<C> + 1e-14);
    CHECK(std::abs(static_cast<double>(saved[6]) / loss - 1) <= 4 * unit<C> + 1e-14);
    auto got_target = before;
    const auto got = on_any_threads(before, [&](std::vector<T>& out) {
      got_target = before;
      cpu_backend<T>().relative_loss_backward({samples, len, p, pred.data(), target.data(),
                                               saved.data(), &dloss, out.data(), got_target.data(),
                                               GradMode::overwrite, GradMode::accumulate});
    });
    check_close(got, dpred, 8 * unit<T> + 1e-14);
    check_close(got_target, dtarget, 2 * unit<T> + 1e-14);
  }
}

TEST_CASE_TEMPLATE("embedding and its gradient, repeated rows in order", T, float, double, bf16) {
  using C = compute_t<T>;
  const index_t rows = 2111, entries = 17, width = 37, padding = 4;
  const auto index = indices(rows, entries, 1);
  const auto table = values<T>(entries * width, 2), dy = values<T>(rows * width, 3);
  std::vector<T> y(dy.size());
  cpu_backend<T>().embedding({rows, entries, width, index.data(), table.data(), y.data()});
  for (index_t r = 0; r < rows; ++r)
    REQUIRE(
        std::memcmp(&y[static_cast<std::size_t>(r * width)],
                    &table[static_cast<std::size_t>(index[static_cast<std::size_t>(r)] * width)],
                    static_cast<std::size_t>(width) * sizeof(T)) == 0);
  const auto before = values<C>(entries * width, 4);
  for (const GradMode mode : {GradMode::overwrite, GradMode::accumulate}) {
    std::vector<double> expected(before.size());
    if (mode == GradMode::accumulate)
      for (std::size_t i = 0; i < before.size(); ++i) expected[i] = value(before[i]);
    for (index_t r = 0; r < rows; ++r) {
      const index_t e = index[static_cast<std::size_t>(r)];
      for (index_t j = 0; e != padding && j < width; ++j)
        expected[static_cast<std::size_t>(e * width + j)] +=
            value(dy[static_cast<std::size_t>(r * width + j)]);
    }
    const auto got = on_any_threads(before, [&](std::vector<C>& out) {
      cpu_backend<T>().embedding_backward(
          {rows, entries, width, padding, index.data(), dy.data(), out.data(), mode});
    });
    check_close(got, expected, 40 * unit<C>);
  }
}

TEST_CASE_TEMPLATE("gather and its gradient", T, float, double, bf16) {
  const SoftmaxCase cases[] = {{3, 11, 1}, {2, 5, 70}, {1, 40, 3}};
  for (const SoftmaxCase& c : cases) {
    const index_t m = 29;
    const auto index = indices(c.outer * m * c.inner, c.n, 1);
    const auto x = values<T>(c.outer * c.n * c.inner, 2), dy = values<T>(c.outer * m * c.inner, 3);
    const auto before = values<T>(c.outer * c.n * c.inner, 4);
    std::vector<double> y, dx;
    for (const T v : before) dx.push_back(value(v));
    for (index_t i = 0; i < c.outer * m * c.inner; ++i) {
      const index_t o = i / (m * c.inner);
      const auto at = static_cast<std::size_t>(
          (o * c.n + index[static_cast<std::size_t>(i)]) * c.inner + i % c.inner);
      y.push_back(value(x[at]));
      dx[at] += value(dy[static_cast<std::size_t>(i)]);
    }
    std::vector<T> got(dy.size());
    cpu_backend<T>().gather({c.outer, c.n, m, c.inner, index.data(), x.data(), got.data()});
    check_close(got, y, 0);
    const auto gradient = on_any_threads(before, [&](std::vector<T>& out) {
      cpu_backend<T>().gather_backward(
          {c.outer, c.n, m, c.inner, index.data(), dy.data(), out.data(), GradMode::accumulate});
    });
    check_close(gradient, dx, std::is_same_v<T, bf16> ? 2 * unit<T> : 10 * unit<T>);
  }
}

}  // namespace
