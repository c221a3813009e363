// Vectorised elementary functions against long double: errors in units in the last place, special
// values, and partial vectors.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "flr/cpu/vmath.hpp"

using namespace flr;

namespace {

using Reference = long double (*)(long double);

long double ld_exp(long double x) {
  return std::exp(x);
}
long double ld_expm1(long double x) {
  return std::expm1(x);
}
long double ld_log(long double x) {
  return std::log(x);
}
long double ld_tanh(long double x) {
  return std::tanh(x);
}
long double ld_erf(long double x) {
  return std::erf(x);
}
long double ld_sqrt(long double x) {
  return std::sqrt(x);
}
long double ld_sigmoid(long double x) {
  return 1 / (1 + std::exp(-x));
}
long double ld_silu(long double x) {
  return x / (1 + std::exp(-x));
}
long double ld_silu_grad(long double x) {
  const long double s = ld_sigmoid(x);
  return s * (1 + x * (1 - s));
}
long double ld_softplus(long double x) {
  return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x));
}
long double ld_gelu(long double x) {
  return x * std::erfc(-x / std::sqrt(2.0L)) / 2;
}
long double ld_gelu_grad(long double x) {
  return std::erfc(-x / std::sqrt(2.0L)) / 2 +
         x * std::exp(-x * x / 2) * 0.398942280401432677939946L;
}
constexpr long double k = 0.797884560802865355879892L, c = 0.044715L;
long double ld_gelu_tanh(long double x) {
  return x * ld_sigmoid(2 * k * (x + c * x * x * x));
}
long double ld_gelu_tanh_grad(long double x) {
  const long double s = ld_sigmoid(2 * k * (x + c * x * x * x));
  return s + x * s * (1 - s) * 2 * k * (1 + 3 * c * x * x);
}

/// The largest error over [low, high]: relative to a unit in the last place of the result, or,
/// where `floor` is given, to that of the larger of the two.
template <class T>
double worst_ulp(void (*f)(const T*, T*, index_t), Reference reference, double low, double high,
                 double floor = 0) {
  constexpr index_t n = 40003;
  std::vector<T> x(n), y(n);
  for (index_t i = 0; i < n; ++i) {
    const double u = double(i) / double(n - 1);
    x[i] = T(low + (high - low) * u);
    if (i % 2) x[i] = T(double(x[i]) * std::exp2(-30 * std::fmod(u * 977, 1.0)));  // small ones too
    if (x[i] < T(low)) x[i] = T(low);
  }
  f(x.data(), y.data(), n);
  double worst = 0;
  for (index_t i = 0; i < n; ++i) {
    const long double want = reference(x[i]);
    const T scale = std::max<T>({T(std::fabs(want)), std::numeric_limits<T>::min(), T(floor)});
    const double ulp = double(std::nextafter(scale, std::numeric_limits<T>::infinity())) - scale;
    worst = std::max(worst, std::fabs(double(y[i] - want)) / ulp);
  }
  return worst;
}

template <class T>
void check_accuracy() {
  const bool single = sizeof(T) == 4;
  const double least = single ? -87.3 : -708, most = single ? 88.7 : 709.7;
  CHECK(worst_ulp<T>(cpu::vexp<T>, ld_exp, least, most) < 2);
  CHECK(worst_ulp<T>(cpu::vexpm1<T>, ld_expm1, -20, 20) < 3);
  CHECK(worst_ulp<T>(cpu::vlog<T>, ld_log, 1e-9, 2) < 2);
  CHECK(worst_ulp<T>(cpu::vlog<T>, ld_log, 1, 1e30) < 2);
  CHECK(worst_ulp<T>(cpu::vtanh<T>, ld_tanh, -12, 25) < 3);
  CHECK(worst_ulp<T>(cpu::verf<T>, ld_erf, -7, 7) < 3);
  CHECK(worst_ulp<T>(cpu::vsqrt<T>, ld_sqrt, 0, 1e9) < 0.5001);
  CHECK(worst_ulp<T>(cpu::vsigmoid<T>, ld_sigmoid, -60, 60) < 3);
  CHECK(worst_ulp<T>(cpu::vsilu<T>, ld_silu, -60, 60) < 3);
  CHECK(worst_ulp<T>(cpu::vsoftplus<T>, ld_softplus, -60, 60) < 3);
  // Where two terms of size one cancel, the error is measured against them.
  CHECK(worst_ulp<T>(cpu::vgelu<T>, ld_gelu, -9, 9, 1) < 4);
  CHECK(worst_ulp<T>(cpu::vgelu_tanh<T>, ld_gelu_tanh, -9, 9, 0.1) < 5);
  CHECK(worst_ulp<T>(cpu::vsilu_derivative<T>, ld_silu_grad, -30, 30, 0.5) < 4);
  CHECK(worst_ulp<T>(cpu::vgelu_derivative<T>, ld_gelu_grad, -9, 9, 1) < 4);
  CHECK(worst_ulp<T>(cpu::vgelu_tanh_derivative<T>, ld_gelu_tanh_grad, -9, 9, 0.5) < 5);
}

template <class T>
T at(void (*f)(const T*, T*, index_t), T x) {
  T y = 7;
  f(&x, &y, 1);
  return y;
}

template <class T>
void check_special_values() {
  using namespace cpu;
  constexpr T inf = std::numeric_limits<T>::infinity(), nan = std::numeric_limits<T>::quiet_NaN();
  constexpr T tiny = std::numeric_limits<T>::denorm_min();
  CHECK(at<T>(vexp, -inf) == 0);
  CHECK(at<T>(vexp, T(-1e4)) == 0);
  CHECK(at<T>(vexp, 0) == 1);
  CHECK(at<T>(vexp, inf) == inf);
  CHECK(at<T>(vexp, T(1e4)) == inf);
  const T low = sizeof(T) == 4 ? T(-100) : T(-740);  // a subnormal result
  CHECK(std::fabs(at<T>(vexp, low) - T(std::exp((long double)low))) <= tiny);
  CHECK(at<T>(vexpm1, -inf) == -1);
  CHECK(at<T>(vexpm1, inf) == inf);
  CHECK(at<T>(vlog, 0) == -inf);
  CHECK(at<T>(vlog, 1) == 0);
  CHECK(at<T>(vlog, inf) == inf);
  CHECK(std::isnan(at<T>(vlog, -1)));
  CHECK(at<T>(vlog, tiny) == doctest::Approx(double(std::log((long double)tiny))).epsilon(1e-6));
  CHECK(at<T>(vtanh, inf) == 1);
  CHECK(at<T>(vtanh, -inf) == -1);
  CHECK(std::signbit(at<T>(vtanh, T(-0.0))));
  CHECK(at<T>(verf, inf) == 1);
  CHECK(at<T>(verf, -inf) == -1);
  CHECK(at<T>(vsigmoid, inf) == 1);
  CHECK(at<T>(vsigmoid, -inf) < T(1e-37));
  CHECK(at<T>(vsoftplus, inf) == inf);
  CHECK(at<T>(vsoftplus, -inf) == 0);
  for (auto f : {vexp<T>, vexpm1<T>, vlog<T>, vtanh<T>, verf<T>, vsqrt<T>, vsigmoid<T>, vsilu<T>,
                 vsoftplus<T>, vgelu<T>, vgelu_tanh<T>, vreciprocal<T>})
    CHECK(std::isnan(at<T>(f, nan)));
}

}  // namespace

TEST_CASE("vector functions are accurate in float") {
  check_accuracy<float>();
}
TEST_CASE("vector functions are accurate in double") {
  check_accuracy<double>();
}
TEST_CASE("vector functions at special values") {
  check_special_values<float>();
  check_special_values<double>();
}

TEST_CASE(
    "an element's bits do not depend on its position, and nothing is written beyond the end") {
  std::vector<float> x(67), whole(67);
  for (int i = 0; i < 67; ++i) x[i] = 0.1f * i - 3;
  cpu::vgelu(x.data(), whole.data(), 67);
  for (index_t n = 0; n < 67; ++n) {
    std::vector<float> y(68, -1), dydx(68, -1);
    cpu::vgelu_with_derivative(x.data() + 67 - n, y.data(), dydx.data(), n);
    for (index_t i = 0; i < n; ++i) CHECK(y[i] == whole[67 - n + i]);
    CHECK(y[n] == -1);
    CHECK(dydx[n] == -1);
  }
}
