// The CPU table's copies, conversions, formulas and reductions against plain loops in double.
#include "cpu_table_values.hpp"

using namespace table_test;

namespace {

struct CopyCase {
  Shape shape, from, to;
};

const CopyCase copy_cases[] = {
    {{}, {}, {}},
    {{0, 3}, {3, 1}, {3, 1}},
    {{40000}, {1}, {1}},
    {{5, 7}, {7, 1}, {7, 1}},
    {{3, 50, 41}, {41 * 50, 41, 1}, {60 * 64, 64, 1}},              // rows into a wider matrix
    {{67, 45}, {1, 67}, {45, 1}},                                   // transposed
    {{2, 33, 4, 8}, {33 * 32, 8, 33 * 8, 1}, {33 * 32, 32, 8, 1}},  // heads
    {{2, 3, 65, 34}, {3 * 65 * 34, 65 * 34, 1, 65}, {3 * 65 * 34, 34, 3 * 34, 1}},
    {{9, 20}, {1, 9}, {1, 9}},     // both transposed: contiguous
    {{6, 30}, {0, 1}, {30, 1}},    // broadcast rows
    {{6, 30}, {1, 0}, {30, 1}},    // broadcast columns
    {{11, 13}, {26, 2}, {13, 1}},  // every other element
    {{11, 13}, {13, 1}, {39, 3}},
    {{300, 2}, {1, 300}, {2, 1}},
    {{2, 300}, {1, 2}, {300, 1}},
};

TEST_CASE_TEMPLATE("copy follows strides on both sides", T, float, double, bf16) {
  for (const CopyCase& c : copy_cases)
    for (const bool accumulate : {false, true}) {
      CAPTURE(c.shape.str());
      CAPTURE(c.from.str());
      CAPTURE(accumulate);
      const auto x = values<T>(50000, 1), before = values<T>(50000, 2);
      std::vector<double> expected;
      for (const T v : before) expected.push_back(value(v));
      std::vector<index_t> to;
      each(c.shape, c.to, [&](index_t, index_t offset) { to.push_back(offset); });
      each(c.shape, c.from, [&](index_t i, index_t offset) {
        double& e = expected[static_cast<std::size_t>(to[static_cast<std::size_t>(i)])];
        e = value(x[static_cast<std::size_t>(offset)]) + (accumulate ? e : 0);
      });
      const auto y = on_any_threads(before, [&](std::vector<T>& dst) {
        cpu_backend<T>().copy({c.shape, c.from, c.to, x.data(), dst.data(), accumulate});
      });
      check_close(y, expected, accumulate ? unit<T> : 0);
    }
}

TEST_CASE("conversion rounds to nearest and keeps NaN") {
  const std::vector<float> x{1, -1.00390625f, 1.01171875f, 3e38f, NAN, INFINITY, 1e-40f, 0};
  std::vector<bf16> y(x.size());
  cpu_backend<float>().to_bf16(x.data(), y.data(), 8);
  std::vector<double> z(x.size());
  cpu_backend<bf16>().to_f64(y.data(), z.data(), 8);
  CHECK(z[1] == -1.0);      // a tie, to even
  CHECK(z[2] == 1.015625);  // a tie, to even
  CHECK(std::isnan(z[4]));
  CHECK(z[5] == INFINITY);
  std::vector<float> many = values<float>(40001, 3), back(many.size());
  std::vector<double> wide(many.size());
  cpu_backend<float>().to_f64(many.data(), wide.data(), 40001);
  cpu_backend<double>().to_f32(wide.data(), back.data(), 40001);
  CHECK(same_bits(many, back));
}

/// out₀ = a · b + c, out₁ = exp(a).
template <class C>
void fused(const void*, const void* const* in, void* const* out, index_t n, const void* math,
           void* scratch) {
  const auto& m = *static_cast<const BlockMath<C>*>(math);
  const auto x = [in](int i) { return static_cast<const C*>(in[i]); };
  if (out[0]) {
    C* product = static_cast<C*>(scratch);
    m.binary[static_cast<int>(Binary::mul)](x(0), x(1), product, n);
    m.binary[static_cast<int>(Binary::add)](product, x(2), static_cast<C*>(out[0]), n);
  }
  if (out[1]) m.unary[static_cast<int>(Unary::exp)](x(0), static_cast<C*>(out[1]), n);
}

struct MapCase {
  Shape shape, strides[3];
};

const MapCase map_cases[] = {
    {{}, {{}, {}, {}}},
    {{4, 0}, {{0, 1}, {0, 1}, {0, 1}}},
    {{20000}, {{1}, {1}, {0}}},
    {{130, 64}, {{64, 1}, {0, 1}, {1, 0}}},               // bias over rows, over columns
    {{3, 41, 5}, {{205, 5, 1}, {0, 1, 41}, {41, 1, 0}}},  // permuted, broadcast behind
    {{2, 3, 700}, {{2100, 700, 1}, {0, 700, 1}, {1, 0, 0}}},
    {{2, 30, 4, 8}, {{960, 32, 8, 1}, {960, 8, 240, 1}, {0, 0, 8, 1}}},
    {{70, 90}, {{1, 70}, {90, 1}, {1, 70}}},  // transposed
    {{5, 1, 1100}, {{1100, 0, 1}, {0, 0, 1}, {1, 1, 5}}},
    {{600, 2}, {{2, 1}, {0, 1}, {1, 600}}},
};

TEST_CASE_TEMPLATE("map broadcasts, fuses and accumulates", T, float, double, bf16) {
  using C = compute_t<T>;
  const FormulaTable table{fused<C>, 1, nullptr};
  for (const MapCase& c : map_cases)
    for (const bool accumulate : {false, true}) {
      CAPTURE(c.shape.str());
      CAPTURE(accumulate);
      const index_t n = c.shape.numel();
      const std::size_t size = static_cast<std::size_t>(n);
      const std::vector<T> in[3] = {values<T>(20000, 1), values<T>(20000, 2), values<T>(20000, 3)};
      std::vector<double> arg[3];
      for (int i = 0; i < 3; ++i)
        each(c.shape, c.strides[i], [&](index_t, index_t offset) {
          arg[i].push_back(value(in[i][static_cast<std::size_t>(offset)]));
        });
      const auto before = values<T>(2 * n, 4);
      std::vector<double> expected(2 * size);
      for (std::size_t i = 0; i < size; ++i) {
        expected[i] = arg[0][i] * arg[1][i] + arg[2][i] + (accumulate ? value(before[i]) : 0);
        expected[size + i] = std::exp(arg[0][i]);
      }
      const auto y = on_any_threads(before, [&](std::vector<T>& dst) {
        MapParams p;
        p.shape = c.shape;
        p.n_in = 3, p.n_out = 2;
        for (int i = 0; i < 3; ++i) p.in[i] = in[i].data(), p.in_strides[i] = c.strides[i];
        p.out[0] = dst.data(), p.out[1] = dst.data() + n;
        p.accumulate[0] = accumulate;
        p.table = &table;
        cpu_backend<T>().map(p);
      });
      check_close(y, expected, 3 * unit<T>);
    }
}

struct ReduceCase {
  Shape kept, kept_strides, reduced, reduced_strides;
};

const ReduceCase reduce_cases[] = {
    {{}, {}, {}, {}},
    {{3}, {1}, {0}, {3}},
    {{}, {}, {90001}, {1}},             // everything, in several pieces
    {{37}, {333}, {333}, {1}},          // rows
    {{4, 9}, {2000, 1}, {222}, {9}},    // columns of several matrices
    {{3}, {1}, {50001}, {3}},           // narrow columns that follow each other
    {{5, 600}, {1800, 1}, {3}, {600}},  // wide columns
    {{70}, {1}, {1300}, {70}},
    {{2, 7}, {3000, 1}, {11, 30}, {7, 80}},  // two reduced axes
    {{8}, {100}, {9, 10}, {1, 10}},          // reduced axes out of order
    {{13}, {2}, {50}, {26}},                 // nothing contiguous
    {{6}, {0}, {20}, {1}},                   // broadcast
};

TEST_CASE_TEMPLATE("reduce sums and finds maxima over any axes", T, float, double, bf16) {
  for (const ReduceCase& c : reduce_cases)
    for (const Reduction kind : {Reduction::sum, Reduction::max})
      for (const bool accumulate : {false, true}) {
        CAPTURE(c.kept.str());
        CAPTURE(c.reduced.str());
        const auto x = values<T>(160000, 1);
        const auto before = values<T>(c.kept.numel(), 2);
        const double scale = kind == Reduction::sum ? 0.25 : 1;
        std::vector<double> expected;
        each(c.kept, c.kept_strides, [&](index_t i, index_t k) {
          long double total = kind == Reduction::sum ? 0 : -INFINITY;
          each(c.reduced, c.reduced_strides, [&](index_t, index_t r) {
            const double v = value(x[static_cast<std::size_t>(k + r)]);
            total =
                kind == Reduction::sum ? total + v : std::fmax(total, static_cast<long double>(v));
          });
          const long double old = value(before[static_cast<std::size_t>(i)]);
          total *= static_cast<long double>(scale);
          if (accumulate) total = kind == Reduction::sum ? total + old : std::fmax(total, old);
          expected.push_back(static_cast<double>(total));
        });
        const auto y = on_any_threads(before, [&](std::vector<T>& dst) {
          cpu_backend<T>().reduce({kind, c.kept, c.kept_strides, c.reduced, c.reduced_strides,
                                   x.data(), dst.data(), static_cast<compute_t<T>>(scale),
                                   accumulate});
        });
        check_close(y, expected,
                    kind == Reduction::max    ? 0
                    : std::is_same_v<T, bf16> ? unit<T>
                                              : 40 * unit<T>);
      }
}

TEST_CASE("a float sum of many equal terms is exact to rounding") {
  const index_t n = 3000000;
  const std::vector<float> x(static_cast<std::size_t>(n), 0.1f);
  float rows = 0, columns[3] = {};
  cpu_backend<float>().reduce({Reduction::sum, {}, {}, {n}, {1}, x.data(), &rows});
  CHECK(std::abs(rows / (static_cast<double>(n) * 0.1f) - 1) < 4e-7);
  cpu_backend<float>().reduce({Reduction::sum, {3}, {1}, {n / 3}, {3}, x.data(), columns});
  CHECK(std::abs(columns[2] / (static_cast<double>(n / 3) * 0.1f) - 1) < 4e-7);
}

TEST_CASE("a maximum with a NaN is NaN, wherever it stands") {
  for (const index_t where : {0, 1, 40, 599})
    for (const bool across : {false, true}) {
      auto x = values<float>(600, 5);
      x[static_cast<std::size_t>(where)] = NAN;
      float y[2] = {};
      if (across)
        cpu_backend<float>().reduce({Reduction::max, {2}, {1}, {300}, {2}, x.data(), y});
      else
        cpu_backend<float>().reduce({Reduction::max, {2}, {300}, {300}, {1}, x.data(), y});
      const index_t hit = across ? where % 2 : where / 300;
      CHECK(std::isnan(y[hit]));
      CHECK(!std::isnan(y[1 - hit]));
    }
}

}  // namespace
