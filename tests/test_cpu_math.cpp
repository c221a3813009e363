// Every word of the formula vocabulary on the CPU against <cmath> in long double.
#include "cpu_table_values.hpp"

using namespace table_test;

namespace {

using real = long double;

real sigma(real x) {
  return 1 / (1 + std::exp(-x));
}
real cdf(real x) {
  return std::erfc(-x / std::sqrt(real(2))) / 2;
}
real density(real x) {
  return std::exp(-x * x / 2) / std::sqrt(2 * std::acos(real(-1)));
}
real tanh_inner(real x) {
  return std::tanh(std::sqrt(2 / std::acos(real(-1))) * (x + 0.044715L * x * x * x));
}

/// The word's value by its definition; `slope` in the names of derivatives.
real exact(Unary op, real x) {
  switch (op) {
    case Unary::neg: return -x;
    case Unary::abs: return std::abs(x);
    case Unary::sign: return (x > 0) - (x < 0);
    case Unary::exp: return std::exp(x);
    case Unary::log: return std::log(x);
    case Unary::sqrt: return std::sqrt(x);
    case Unary::rsqrt: return 1 / std::sqrt(x);
    case Unary::square: return x * x;
    case Unary::reciprocal: return 1 / x;
    case Unary::sin: return std::sin(x);
    case Unary::cos: return std::cos(x);
    case Unary::tanh: return std::tanh(x);
    case Unary::erf: return std::erf(x);
    case Unary::sigmoid: return sigma(x);
    case Unary::relu: return x > 0 ? x : 0;
    case Unary::elu: return x > 0 ? x : std::expm1(x);
    case Unary::elu_grad: return x > 0 ? 1 : std::exp(x);
    case Unary::softplus: return std::fmax(x, real(0)) + std::log1p(std::exp(-std::abs(x)));
    case Unary::silu: return x * sigma(x);
    case Unary::silu_grad: return sigma(x) * (1 + x * (1 - sigma(x)));
    case Unary::gelu: return x * cdf(x);
    case Unary::gelu_grad: return cdf(x) + x * density(x);
    case Unary::gelu_tanh: return x * (1 + tanh_inner(x)) / 2;
    case Unary::gelu_tanh_grad: {
      const real t = tanh_inner(x), k = std::sqrt(2 / std::acos(real(-1)));
      return (1 + t) / 2 + x / 2 * (1 - t * t) * k * (1 + 3 * 0.044715L * x * x);
    }
    case Unary::count: break;
  }
  return NAN;
}

/// What an error is measured against. GELU and its relatives cancel in their tails, where only the
/// absolute error can be small; two derivatives multiply what is left of 1 − σ or 1 − tanh² by x.
real scale_of(Unary op, real x, real want) {
  if (op < Unary::silu) return std::abs(want);
  const bool grows = op == Unary::silu_grad || op == Unary::gelu_tanh_grad;
  return std::fmax(real(1), std::abs(want)) * (grows ? 1 + x * x / 4 : 1);
}

template <class C>
const BlockMath<C>& math() {
  static const BlockMath<C>* found = nullptr;
  const FormulaTable table{[](const void*, const void* const*, void* const*, index_t, const void* m,
                              void*) { found = static_cast<const BlockMath<C>*>(m); },
                           0, nullptr};
  C out;
  MapParams p;
  p.n_out = 1, p.out[0] = &out, p.table = &table;
  cpu_backend<C>().map(p);
  return *found;
}

TEST_CASE_TEMPLATE("unary words", C, float, double) {
  std::vector<C> x;
  for (int i = -400; i <= 400; ++i) x.push_back(static_cast<C>(i * 0.031));
  for (int i = 1; i < 60; ++i)
    x.push_back(static_cast<C>(std::pow(2.0, -i))), x.push_back(-x.back());
  x.push_back(C(40)), x.push_back(C(-40));  // 13 more than a multiple of any vector's length
  const index_t n = static_cast<index_t>(x.size());
  for (int o = 0; o < static_cast<int>(Unary::count); ++o) {
    CAPTURE(o);
    const Unary op = static_cast<Unary>(o);
    std::vector<C> y(x.size() + 1, C(7));
    math<C>().unary[o](x.data(), y.data(), n);
    CHECK(y.back() == C(7));
    double worst = 0, at = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const real want = exact(op, static_cast<real>(x[i]));
      if (std::isnan(want)) {
        CHECK(std::isnan(y[i]));
        continue;
      }
      if (std::isinf(want)) {
        CHECK(static_cast<real>(y[i]) == want);
        continue;
      }
      const real scale = scale_of(op, static_cast<real>(x[i]), want);
      if (want == 0)
        CHECK(static_cast<double>(std::abs(y[i])) < 1e-30);
      else if (const double e =
                   static_cast<double>(std::abs(static_cast<real>(y[i]) - want) / scale);
               e > worst)
        worst = e, at = static_cast<double>(x[i]);
    }
    CAPTURE(at);
    CHECK(worst <= 10 * unit<C>);
    std::vector<C> in_place = x;
    math<C>().unary[o](in_place.data(), in_place.data(), n);
    y.pop_back();
    CHECK(same_bits(in_place, y));
  }
}

TEST_CASE_TEMPLATE("unary words at the ends of the number line", C, float, double) {
  const auto at = [](Unary op, double x) {
    C in = static_cast<C>(x), out;
    math<C>().unary[static_cast<int>(op)](&in, &out, 1);
    return static_cast<double>(out);
  };
  for (int o = 0; o < static_cast<int>(Unary::count); ++o) {
    const Unary op = static_cast<Unary>(o);
    CAPTURE(o);
    if (op != Unary::sign && op != Unary::elu_grad) CHECK(std::isnan(at(op, NAN)));
  }
  CHECK(at(Unary::exp, INFINITY) == INFINITY);
  CHECK(at(Unary::exp, -INFINITY) == 0);
  CHECK(at(Unary::log, 0) == -INFINITY);
  CHECK(std::isnan(at(Unary::log, -1)));
  CHECK(at(Unary::tanh, INFINITY) == 1);
  CHECK(at(Unary::tanh, -1e30) == -1);
  CHECK(at(Unary::erf, -1e30) == -1);
  CHECK(at(Unary::sigmoid, -1e30) == 0);
  CHECK(at(Unary::sigmoid, 1e30) == 1);
  CHECK(at(Unary::softplus, 1e30) == static_cast<double>(static_cast<C>(1e30)));
  CHECK(at(Unary::softplus, -1e30) == 0);
  CHECK(at(Unary::elu, -1e30) == -1);
  CHECK(at(Unary::gelu, 1e4) == static_cast<double>(static_cast<C>(1e4)));
  CHECK(at(Unary::gelu_tanh, 1e4) == static_cast<double>(static_cast<C>(1e4)));
  CHECK(at(Unary::gelu_tanh, -1e4) == 0);
}

TEST_CASE_TEMPLATE("binary words, with a block and with a scalar", C, float, double) {
  const std::vector<C> a{C(-1.5), C(0),   C(2), C(3),     C(NAN), C(1),
                         C(-2),   C(0.5), C(7), C(-0.25), C(3)};
  const std::vector<C> b{C(2), C(0), C(-1), C(3), C(1), C(NAN), C(3), C(0.5), C(-7), C(2), C(0.1)};
  const auto exact_binary = [](Binary op, double x, double y) -> double {
    const bool nan = std::isnan(x) || std::isnan(y);
    switch (op) {
      case Binary::add: return x + y;
      case Binary::sub: return x - y;
      case Binary::mul: return x * y;
      case Binary::div: return x / y;
      case Binary::min: return nan ? NAN : std::fmin(x, y);
      case Binary::max: return nan ? NAN : std::fmax(x, y);
      case Binary::pow: return std::pow(x, y);
      case Binary::less: return x < y;
      case Binary::less_equal: return x <= y;
      case Binary::greater: return x > y;
      case Binary::greater_equal: return x >= y;
      case Binary::equal: return x == y;
      case Binary::not_equal: return x != y;
      case Binary::count: break;
    }
    return NAN;
  };
  const index_t n = static_cast<index_t>(a.size());
  for (int o = 0; o < static_cast<int>(Binary::count); ++o) {
    CAPTURE(o);
    const Binary op = static_cast<Binary>(o);
    std::vector<C> y(a.size());
    const auto compare = [&](auto&& second) {
      for (std::size_t i = 0; i < a.size(); ++i) {
        const double want = exact_binary(op, value(a[i]), value(second(i))), got = value(y[i]);
        CAPTURE(i);
        if (std::isnan(want))
          CHECK(std::isnan(got));
        else
          CHECK((got == want || std::abs(got - want) <= 4 * unit<C> * std::abs(want)));
      }
    };
    math<C>().binary[o](a.data(), b.data(), y.data(), n);
    compare([&](std::size_t i) { return b[i]; });
    for (const C s : {C(1), C(2), C(-1), C(0), C(3), C(0.5), C(NAN)}) {
      CAPTURE(s);
      math<C>().binary_scalar[o](a.data(), s, y.data(), n);
      compare([&](std::size_t) { return s; });
    }
  }
  std::vector<C> y(a.size());
  math<C>().where(b.data(), a.data(), b.data(), y.data(), n);
  for (std::size_t i = 0; i < a.size(); ++i) {
    const C want = b[i] != 0 ? a[i] : b[i];  // NaN is not 0
    CHECK((y[i] == want || (std::isnan(y[i]) && std::isnan(want))));
  }
}

}  // namespace
