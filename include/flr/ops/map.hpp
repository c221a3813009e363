// map(formula, tensors…): one elementwise formula over broadcast tensors, as one node.
//
//   y = f(x₁, …, xₙ);   dxᵢ = Σ over broadcast axes of dy · ∂f/∂xᵢ
// The derivatives are formulas too (formula/derivative.hpp); all gradients of a call are computed in
// one pass. Backward saves the inputs.
#pragma once

#include <array>
#include <tuple>
#include <utility>

#include "flr/formula/derivative.hpp"
#include "flr/formula/evaluate.hpp"
#include "flr/formula/print.hpp"
#include "flr/ops/sum_to.hpp"

namespace flr {

namespace detail {

/// The static table of a list of formulas, for one compute type.
template <class C, class... F>
struct FormulaSet {
  using Tuple = std::tuple<F...>;
  static constexpr int blocks = std::max({0, formula::scratch_blocks<F>...});

  static void block(const void* formulas, const void* const* in, void* const* out, index_t n,
                    const void* math, void* scratch) {
    const formula::Block<C> b{in, static_cast<const BlockMath<C>*>(math), n};
    const Tuple& f = *static_cast<const Tuple*>(formulas);
    [&]<std::size_t... K>(std::index_sequence<K...>) {
      ((out[K] ? one(std::get<K>(f), b, static_cast<C*>(out[K]), static_cast<C*>(scratch)) : void()),
       ...);
    }(std::index_sequence_for<F...>{});
  }

  static std::string print(const void* formulas, int output) {
    const Tuple& f = *static_cast<const Tuple*>(formulas);
    std::string text;
    [&]<std::size_t... K>(std::index_sequence<K...>) {
      ((static_cast<int>(K) == output ? void(text = formula::print(std::get<K>(f))) : void()), ...);
    }(std::index_sequence_for<F...>{});
    return text;
  }

  static int scalars(const void* formulas, int output, double* values) {
    const Tuple& f = *static_cast<const Tuple*>(formulas);
    int count = 0;
    [&]<std::size_t... K>(std::index_sequence<K...>) {
      ((static_cast<int>(K) == output ? void(count = formula::scalars(std::get<K>(f), values))
                                      : void()),
       ...);
    }(std::index_sequence_for<F...>{});
    return count;
  }

  static inline const FormulaTable table{block, blocks, print, scalars};

 private:
  template <class G>
  static void one(const G& f, const formula::Block<C>& b, C* dst, C* scratch) {
    const C* result = formula::evaluate(f, b, dst, scratch);
    if (result != dst) b.math->binary_scalar[static_cast<int>(Binary::add)](result, C(0), dst, b.n);
  }
};

template <Floating T, std::size_t N>
MapParams map_params(const Shape& shape, const std::array<Tensor<T>, N>& x) {
  MapParams p;
  p.shape = shape;
  p.n_in = static_cast<int>(N);
  for (std::size_t i = 0; i < N; ++i) {
    p.in[i] = x[i].data();
    p.in_strides[i] = broadcast_strides(x[i].shape(), x[i].strides(), shape);
  }
  return p;
}

/// Backward of one map: every wanted gradient in one pass, then the sums over broadcast axes. Where a
/// derivative is 1, as in x + y, dy itself is the gradient: nothing is computed or copied.
template <Floating T, std::size_t N, class F, std::size_t... I>
void map_backward(Backward& b, const F& f, const std::array<Tensor<T>, N>& x, const Shape& shape,
                  std::index_sequence<I...>) {
  constexpr int G = static_cast<int>(N) + 1;  // the placeholder of dy
  const auto gradients = std::tuple{formula::call<Binary::mul>(
      formula::derivative<static_cast<int>(I) + 1>(f), formula::Arg<G>{})...};
  using Set = FormulaSet<compute_t<T>, std::remove_cvref_t<decltype(std::get<I>(gradients))>...>;
  constexpr std::array<bool, N> passes{
      std::same_as<std::remove_cvref_t<decltype(std::get<I>(gradients))>, formula::Arg<G>>...};

  std::array<Tensor<T>, N + 1> in;
  for (std::size_t i = 0; i < N; ++i) in[i] = x[i];
  in[N] = b.grad_strided<T>();
  MapParams p = map_params(shape, in);
  p.n_out = static_cast<int>(N);
  p.formula = &gradients;
  p.table = &Set::table;

  const auto given = [&](std::size_t i) { return passes[i] && x[i].shape() == shape; };
  std::array<GradTarget<T>, N> targets{given(I) ? GradTarget<T>() : b.target<T>(static_cast<int>(I))...};
  std::array<Tensor<T>, N> full;  // gradients that still have to be summed
  bool computes = false;
  for (std::size_t i = 0; i < N; ++i) {
    if (!targets[i].wanted()) continue;
    if (passes[i]) {
      full[i] = in[N];
      continue;
    }
    computes = true;
    if (targets[i].tensor().shape() == shape) {
      p.out[i] = targets[i].data();
      p.accumulate[i] = targets[i].accumulate();
    } else {
      full[i] = Tensor<T>::empty(shape, x[i].device());
      p.out[i] = full[i].mutable_data();
    }
  }
  if (computes) backend<T>(x[0].device()).map(p);
  for (std::size_t i = 0; i < N; ++i)
    if (full[i].defined()) sum_to(full[i], targets[i]);
  // Last: an input may be there twice, and one of its places is written only now. As handles of their
  // own: a leaf must see that the memory is shared.
  for (std::size_t i = 0; i < N; ++i)
    if (given(i)) b.give(static_cast<int>(i), in[N].detach());
}

}  // namespace detail

/// y = f(x₁, …, xₙ) elementwise, shapes broadcast as NumPy's. 16-bit tensors are computed in float.
/// f is a formula over the placeholders _1 … _9, e.g. map(silu(_1) * _2, gate, value). One node.
template <formula::IsFormula F, Floating T, std::same_as<Tensor<T>>... X>
Tensor<T> map(const F& f, const Tensor<T>& x1, const X&... more) {
  constexpr std::size_t N = 1 + sizeof...(X);
  static_assert(formula::arity<F> <= static_cast<int>(N),
                "flr::map: the formula has more placeholders than there are tensors");
  static_assert(N <= 9, "flr::map: a formula takes at most nine tensors");
  if constexpr (formula::arity<F> <= static_cast<int>(N) && N <= 9) {
    const std::array<Tensor<T>, N> x{x1, more...};
    Shape shape = x1.shape();
    for (const Tensor<T>& t : x) {
      shape = broadcast_shapes(shape, t.shape(), "map");
      check(t.device() == x1.device(), "[map] expected all tensors on {}; got one on {}",
            x1.device().str(), t.device().str());
    }
    auto y = Tensor<T>::empty(shape, x1.device());
    using Set = detail::FormulaSet<compute_t<T>, F>;
    const std::tuple<F> formulas{f};
    MapParams p = detail::map_params(shape, x);
    p.n_out = 1;
    p.out[0] = y.mutable_data();
    p.formula = &formulas;
    p.table = &Set::table;
    backend<T>(x1.device()).map(p);

    if (recording(x1, more...)) {
      std::array<Saved<T>, N> saved{save(x1), save(more)...};
      record("map", y, Inputs(x1, more...), [f, saved, shape](Backward& b) {
        std::array<Tensor<T>, N> in;
        for (std::size_t i = 0; i < N; ++i) in[i] = saved[i].get("map");
        detail::map_backward(b, f, in, shape, std::make_index_sequence<N>{});
      });
    }
    return y;
  }
}

}  // namespace flr
