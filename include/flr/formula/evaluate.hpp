// Formulas on the CPU: evaluated block by block (map_block values, in the first-level cache), each
// word by one vectorised function of the backend. So a user's own formula runs at the speed of the
// instruction set that the backend chose, whatever the user's program was compiled for.
#pragma once

#include "flr/formula/expression.hpp"

namespace flr::formula {

/// The number of scratch blocks that evaluating F needs beside its destination.
template <class F>
inline constexpr int scratch_blocks = 0;
template <Unary Op, class A>
inline constexpr int scratch_blocks<Call1<Op, A>> = scratch_blocks<A>;
template <Binary Op, class A, class B>
inline constexpr int scratch_blocks<Call2<Op, A, B>> =
    scratch_blocks<A> > 1 + scratch_blocks<B> ? scratch_blocks<A> : 1 + scratch_blocks<B>;
template <class C, class A, class B>
inline constexpr int scratch_blocks<Where<C, A, B>> =
    2 + scratch_blocks<C> + scratch_blocks<A> + scratch_blocks<B>;

/// One block: n values of every input, and the means to compute with them.
template <class C>
struct Block {
  const void* const* in;
  const BlockMath<C>* math;
  index_t n;
};

/// Returns where the values of f lie: in `dst`, or where they already were.
template <class C, int I>
const C* evaluate(const Arg<I>&, const Block<C>& block, C*, C*) {
  return static_cast<const C*>(block.in[I - 1]);
}
template <class C>
const C* evaluate(const Scalar& f, const Block<C>& block, C* dst, C*) {
  block.math->fill(dst, static_cast<C>(f.value), block.n);
  return dst;
}
template <class C>
const C* evaluate(const One&, const Block<C>& block, C* dst, C*) {
  block.math->fill(dst, C(1), block.n);
  return dst;
}
template <class C>
const C* evaluate(const Zero&, const Block<C>& block, C* dst, C*) {
  block.math->fill(dst, C(0), block.n);
  return dst;
}
template <class C, Unary Op, class A>
const C* evaluate(const Call1<Op, A>& f, const Block<C>& block, C* dst, C* scratch) {
  const C* a = evaluate(f.a, block, dst, scratch);
  block.math->unary[static_cast<int>(Op)](a, dst, block.n);
  return dst;
}
template <class C, Binary Op, class A, class B>
const C* evaluate(const Call2<Op, A, B>& f, const Block<C>& block, C* dst, C* scratch) {
  const C* a = evaluate(f.a, block, dst, scratch);
  if constexpr (std::same_as<B, Scalar>) {
    block.math->binary_scalar[static_cast<int>(Op)](a, static_cast<C>(f.b.value), dst, block.n);
  } else {
    const C* b = evaluate(f.b, block, scratch, scratch + map_block);
    block.math->binary[static_cast<int>(Op)](a, b, dst, block.n);
  }
  return dst;
}
template <class C, class F, class A, class B>
const C* evaluate(const Where<F, A, B>& f, const Block<C>& block, C* dst, C* scratch) {
  C* mine = scratch + 2 * map_block;
  const C* c = evaluate(f.c, block, dst, mine);
  mine += scratch_blocks<F> * map_block;
  const C* a = evaluate(f.a, block, scratch, mine);
  mine += scratch_blocks<A> * map_block;
  const C* b = evaluate(f.b, block, scratch + map_block, mine);
  block.math->where(c, a, b, dst, block.n);
  return dst;
}

}  // namespace flr::formula
