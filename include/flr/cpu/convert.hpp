// Between storage types, and between storage and what is computed in.
#pragma once

#include "flr/cpu/layout.hpp"

FLR_CPU_BEGIN

/// Elements that one chunk of a simple loop over contiguous memory takes.
inline constexpr index_t chunk_elements = 16384;

/// y = x, converted.
template <class From, class To>
inline void convert_run(const From* x, To* y, index_t n) {
  FLR_ELEMENTWISE
  for (index_t i = 0; i < n; ++i)
    y[i] = static_cast<To>(static_cast<compute_t<To>>(static_cast<compute_t<From>>(x[i])));
}

/// y += x, where the sum is formed in y's compute type.
template <class From, class To>
inline void add_run(const From* x, To* y, index_t n) {
  using C = compute_t<To>;
  FLR_ELEMENTWISE
  for (index_t i = 0; i < n; ++i)
    y[i] =
        static_cast<To>(static_cast<C>(y[i]) + static_cast<C>(static_cast<compute_t<From>>(x[i])));
}

/// Writes or adds a run of computed values to storage.
template <class C, class T>
inline void store_run(const C* x, T* y, index_t n, bool accumulate) {
  if (accumulate)
    add_run(x, y, n);
  else
    convert_run(x, y, n);
}

template <class From, class To>
void convert(const From* x, To* y, index_t n) {
  parallel_ranges(n, chunk_elements, [=](index_t begin, index_t end) {
    convert_run(x + begin, y + begin, end - begin);
  });
}

template <class T>
void to_f32(const T* x, float* y, index_t n) {
  convert(x, y, n);
}
template <class T>
void to_f64(const T* x, double* y, index_t n) {
  convert(x, y, n);
}
template <class T>
void to_bf16(const T* x, bf16* y, index_t n) {
  convert(x, y, n);
}
template <class T>
void from_u8(const std::uint8_t* x, T* y, index_t n) {
  for (index_t i = 0; i < n; ++i) y[i] = static_cast<T>(static_cast<compute_t<T>>(x[i]));
}
template <class T>
void to_u8(const T* x, std::uint8_t* y, index_t n) {
  for (index_t i = 0; i < n; ++i) y[i] = static_cast<std::uint8_t>(static_cast<compute_t<T>>(x[i]));
}

FLR_CPU_END
