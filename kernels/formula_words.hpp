// The vocabulary of formulas in CUDA C++, as text that is put in front of every formula's kernel.
//
// Values are of class V, so that comparisons give 1 or 0 of the compute type C (true / false would
// be integer arithmetic) and that the words below hide CUDA's functions of the same names. S is a
// captured scalar, the same in every thread: powers by one branch without divergence. All functions
// are CUDA's accurate ones; the definitions are those of cpu/block_math.hpp.
#pragma once

namespace flr::cuda {

inline constexpr const char formula_words[] = R"(
struct V {
  C v;
  __device__ V(C x) : v(x) {}
  __device__ explicit operator bool() const { return v != C(0); }
};
struct S : V {
  using V::V;
};
#define WORD __device__ inline V
WORD operator-(V a) { return -a.v; }
WORD operator+(V a, V b) { return a.v + b.v; }
WORD operator-(V a, V b) { return a.v - b.v; }
WORD operator*(V a, V b) { return a.v * b.v; }
WORD operator/(V a, V b) { return a.v / b.v; }
WORD operator<(V a, V b) { return C(a.v < b.v); }
WORD operator<=(V a, V b) { return C(a.v <= b.v); }
WORD operator>(V a, V b) { return C(a.v > b.v); }
WORD operator>=(V a, V b) { return C(a.v >= b.v); }
WORD operator==(V a, V b) { return C(a.v == b.v); }
WORD operator!=(V a, V b) { return C(a.v != b.v); }
WORD min(V a, V b) { return a.v < b.v || a.v != a.v ? a.v : b.v; }
WORD max(V a, V b) { return a.v > b.v || a.v != a.v ? a.v : b.v; }
WORD pow(V a, V b) { return ::pow(a.v, b.v); }
WORD pow(V a, S b) {
  if (b.v == C(1)) return a.v;
  if (b.v == C(2)) return a.v * a.v;
  if (b.v == C(3)) return a.v * a.v * a.v;
  if (b.v == C(-1)) return C(1) / a.v;
  return ::pow(a.v, b.v);
}
WORD abs(V x) { return ::fabs(x.v); }
WORD sign(V x) { return x.v > C(0) ? C(1) : x.v < C(0) ? C(-1) : x.v; }
WORD exp(V x) { return ::exp(x.v); }
WORD log(V x) { return ::log(x.v); }
WORD sqrt(V x) { return ::sqrt(x.v); }
WORD rsqrt(V x) { return ::rsqrt(x.v); }
WORD square(V x) { return x.v * x.v; }
WORD reciprocal(V x) { return C(1) / x.v; }
WORD sin(V x) { return ::sin(x.v); }
WORD cos(V x) { return ::cos(x.v); }
WORD tanh(V x) { return ::tanh(x.v); }
WORD erf(V x) { return ::erf(x.v); }
WORD sigmoid(V x) { return C(1) / (C(1) + ::exp(-x.v)); }
WORD relu(V x) { return x.v < C(0) ? C(0) : x.v; }
WORD elu(V x) { return x.v <= C(0) ? ::expm1(x.v) : x.v; }
WORD elu_grad(V x) { return x.v > C(0) ? C(1) : ::exp(x.v); }
WORD softplus(V x) {
  const C y = (x.v > C(0) ? x.v : C(0)) + ::log1p(::exp(-::fabs(x.v)));
  return x.v == x.v ? y : x.v;
}
WORD silu(V x) { return x.v / (C(1) + ::exp(-x.v)); }
WORD silu_grad(V x) {
  const C s = C(1) / (C(1) + ::exp(-x.v));
  return s * (C(1) + x.v * (C(1) - s));
}
WORD gelu(V x) { return x.v * (C(0.5) * ::erfc(x.v * C(-0.70710678118654752440))); }
WORD gelu_grad(V x) {
  const C cdf = C(0.5) * ::erfc(x.v * C(-0.70710678118654752440));
  return cdf + x.v * (C(0.39894228040143267794) * ::exp(C(-0.5) * x.v * x.v));
}
// (1 + tanh u) / 2 is the logistic function of 2u, which loses nothing to cancellation.
#define LOGISTIC_OF_2U                                                               \
  const C z = x.v * x.v, k = C(2 * 0.79788456080286535588), k3 = C(0.044715);        \
  const C h = C(1) / (C(1) + ::exp(-k * x.v * (C(1) + k3 * z)));
WORD gelu_tanh(V x) {
  LOGISTIC_OF_2U
  return x.v * h;
}
WORD gelu_tanh_grad(V x) {
  LOGISTIC_OF_2U
  // Where h is 0 the product would be 0 times infinity for the largest x.
  const C slope = h * (C(1) - h);
  return slope == C(0) ? h : h + x.v * slope * (k * (C(1) + C(3) * k3 * z));
}
)";

}  // namespace flr::cuda
