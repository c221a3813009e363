// Bias, activation and skip connection of a chunk of rows, in the pass that follows its product.
#pragma once

#include "flr/cpu/dense_vector.hpp"
#include "flr/cpu/vector_math.hpp"

FLR_CPU_BEGIN
namespace dense {

/// eˣ with x held within ±87 (±708 in double), where results are normal numbers: enough for what is
/// added to 1. NaN stays NaN.
template <class T>
FLR_ALWAYS_INLINE Vec<T> clamped_exp(Vec<T> x) {
  const Vec<T> limit = splat(std::is_same_v<T, float> ? T(87) : T(708));
  // In this form a comparison with NaN gives x, and the compiler sees one instruction each.
  x = limit < x ? limit : x;
  x = -limit > x ? -limit : x;
  Vec<T> r;
  const auto n = simd::detail::reduce<T>(x, r);
  if constexpr (std::is_same_v<T, float>) {
    // The polynomial of least relative error (2e-8) with eʳ = 1 + r + …, |r| ≤ ln 2 / 2. Its order
    // of evaluation is short rather than small: the loops wait for this chain.
    const Vec<T> r2 = r * r;
    Vec<T> high = fma(r, splat(8.363144472e-03f), splat(4.166685417e-02f));
    high = fma(r2, splat(1.390128513e-03f), high);
    const Vec<T> low = fma(r, splat(1.666657776e-01f), splat(0.5f));
    const Vec<T> y = fma(r2, fma(r2, high, low), r + 1.0f);
    // Adding n to the exponent multiplies by 2ⁿ.
    return simd::bits<Vec<T>>(simd::bits<simd::Mask<T>>(y) + (n << 23));
  } else {
    return (simd::detail::expm1_reduced<T>(r) + T(1)) * simd::detail::power_of_two<T>(n);
  }
}

/// 1/(1 + e⁻ˣ) and its complement, given −x.
template <class T>
struct Logistic {
  Vec<T> value, complement;
};
template <class T>
FLR_ALWAYS_INLINE Logistic<T> logistic_of_minus(Vec<T> minus_x) {
  const Vec<T> e = clamped_exp<T>(minus_x), s = T(1) / (T(1) + e);
  return {s, e * s};
}

/// x Φ(x) and Φ(x) + x φ(x). In float Φ(−|x|) = e^(−x²/2) t q(t), t = 1/(1 + 0.3 |x|), with q
/// fitted to least relative error (4e-9), which keeps the digits of large negative x.
template <class T>
FLR_ALWAYS_INLINE simd::ValueAndSlope<T> exact_gelu(Vec<T> x) {
  if constexpr (std::is_same_v<T, float>) {
    const Vec<T> e = clamped_exp<T>(-0.5f * x * x);
    const Vec<T> t = 1.0f / (1.0f + 0.3f * simd::vabs<T>(x));
    Vec<T> q = fma(t, splat(-2.061289549e-02f), splat(1.123761311e-01f));
    for (const float c : {-2.280683517e-01f, 1.915828139e-01f, -7.924827933e-02f, 9.605833143e-02f,
                          7.842540741e-02f, 1.102273613e-01f, 1.195728332e-01f, 1.196866333e-01f})
      q = fma(q, t, splat(c));
    const Vec<T> lower = e * t * q, cdf = x < 0.0f ? lower : 1.0f - lower;
    return {x * cdf, fma(x * 0.398942280f, e, cdf)};
  } else {
    return simd::gelu<T>(x);
  }
}

/// An activation and its derivative at x. What the caller does not use is not computed.
template <Activation A, class T>
FLR_ALWAYS_INLINE simd::ValueAndSlope<T> activation(Vec<T> x) {
  if constexpr (A == Activation::relu) {
    const auto negative = x < Vec<T>{};  // NaN stays NaN
    return {simd::select<T>(negative, Vec<T>{}, x),
            simd::select<T>(x > Vec<T>{}, splat(T(1)), Vec<T>{})};
  } else if constexpr (A == Activation::gelu) {
    return exact_gelu<T>(x);
  } else if constexpr (A == Activation::gelu_tanh) {
    // ½(1 + tanh u) is the logistic function of 2u, which loses nothing to cancellation.
    constexpr T k = T(2 * 0.79788456080286535588), k3 = T(2 * 0.79788456080286535588 * 0.044715);
    const Vec<T> z = x * x;
    const Logistic<T> s = logistic_of_minus<T>(x * fma(z, splat(-k3), splat(-k)));
    const Vec<T> y = x * s.value;
    return {y, fma(y * s.complement, fma(z, splat(3 * k3), splat(k)), s.value)};
  } else if constexpr (A == Activation::silu) {
    const Logistic<T> s = logistic_of_minus<T>(-x);
    const Vec<T> y = x * s.value;
    return {y, fma(y, s.complement, s.value)};
  } else if constexpr (A == Activation::tanh) {
    const Vec<T> t = simd::tanh<T>(x);
    return {t, T(1) - t * t};
  } else if constexpr (A == Activation::sigmoid) {
    const Logistic<T> s = logistic_of_minus<T>(-x);
    return {s.value, s.value * s.complement};
  } else {
    return {x, splat(T(1))};
  }
}

/// body(std::integral_constant<Activation, A>) for the activation chosen at run time.
template <class Body>
void with_activation(Activation act, Body&& body) {
  using enum Activation;
  switch (act) {
    case identity: return body(std::integral_constant<Activation, identity>{});
    case relu: return body(std::integral_constant<Activation, relu>{});
    case gelu: return body(std::integral_constant<Activation, gelu>{});
    case gelu_tanh: return body(std::integral_constant<Activation, gelu_tanh>{});
    case silu: return body(std::integral_constant<Activation, silu>{});
    case tanh: return body(std::integral_constant<Activation, tanh>{});
    case sigmoid: return body(std::integral_constant<Activation, sigmoid>{});
  }
}

/// p += bias and y = act(p) + skip over [rows, cols]. bias and skip may be null; y may be p, which
/// then holds y.
template <class T>
void finish_rows(Activation act, index_t rows, index_t cols, T* p, const T* bias, const T* skip,
                 T* y) {
  // Without a bias the rows are one long row.
  if (!bias) cols *= rows, rows = 1;
  if (act == Activation::identity && !bias && !skip && p == y) return;
  with_activation(act, [&](auto a) {
    for (index_t r = 0; r < rows; ++r) {
      const index_t start = r * cols;
      for_vectors<T>(cols, [&](index_t j, auto access) {
        const index_t i = start + j;
        Vec<T> v = access.load(p + i);
        if (bias) v += access.load(bias + j);
        if (p != y) access.store(p + i, v);
        v = activation<a(), T>(v).value;
        if (skip) v += access.load(skip + i);
        access.store(y + i, v);
      });
    }
  });
}

/// y = act(p) + skip and slope = act′(p) over n elements; skip may be null.
template <class T>
void value_and_slope(Activation act, index_t n, const T* p, const T* skip, T* y, T* slope) {
  with_activation(act, [&](auto a) {
    for_vectors<T>(n, [&](index_t i, auto access) {
      const simd::ValueAndSlope<T> f = activation<a(), T>(access.load(p + i));
      access.store(y + i, skip ? f.value + access.load(skip + i) : f.value);
      access.store(slope + i, f.slope);
    });
  });
}

/// dp = dy · act′(p) over n elements.
template <class T>
void activation_gradient(Activation act, index_t n, const T* p, const T* dy, T* dp) {
  with_activation(act, [&](auto a) {
    for_vectors<T>(n, [&](index_t i, auto access) {
      access.store(dp + i, access.load(dy + i) * activation<a(), T>(access.load(p + i)).slope);
    });
  });
}

/// sums[j] (+)= Σ over rows of x[·, j], rows in order.
template <class T>
void column_sums(index_t rows, index_t cols, const T* x, T* sums, bool add) {
  for_vectors<T>(cols, [&](index_t j, auto access) {
    Vec<T> sum = add ? access.load(sums + j) : Vec<T>{};
    for (index_t r = 0; r < rows; ++r) sum += access.load(x + r * cols + j);
    access.store(sums + j, sum);
  });
}

/// product = x · factor over [rows, cols], and its column sums as above where `sums` is not null.
template <class T>
void multiply_rows(index_t rows, index_t cols, const T* x, const T* factor, T* product, T* sums,
                   bool add) {
  for_vectors<T>(cols, [&](index_t j, auto access) {
    Vec<T> sum = add && sums ? access.load(sums + j) : Vec<T>{};
    for (index_t i = j; i < rows * cols; i += cols) {
      const Vec<T> v = access.load(x + i) * access.load(factor + i);
      access.store(product + i, v);
      sum += v;
    }
    if (sums) access.store(sums + j, sum);
  });
}

/// dst = src, or dst += src where `add`.
template <class T>
void add_or_copy(index_t n, const T* src, T* dst, bool add) {
  for_vectors<T>(n, [&](index_t i, auto access) {
    const Vec<T> v = access.load(src + i);
    access.store(dst + i, add ? access.load(dst + i) + v : v);
  });
}

}  // namespace dense
FLR_CPU_END
