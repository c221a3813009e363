// Rotary position embedding (Su et al. 2021, arXiv 2104.09864).
//
//   (y_2i, y_2i+1) = R(n θ_i) (x_2i, x_2i+1),   θ_i = base^(−2i/D),   R(a) = [cos a, −sin a; sin a, cos a]
// for the token at position n. R is orthogonal, so dx = R(−n θ_i) dy; and q_m·k_n depends on n − m.
#pragma once

#include "flr/nn/module.hpp"

namespace flr::nn {

/// Which partner an element is turned with. `halves` is the reference's faulty layout: its angles are
/// those of pairs, but the partner comes from (−x_1, −x_3, …, x_0, x_2, …). That map is no rotation,
/// and the products depend on m and n, not on n − m alone; it is here for weights trained with it.
enum class RotaryLayout : unsigned char { pairs, halves };

namespace detail {

template <Floating T>
std::pair<Tensor<T>, Tensor<T>> even_and_odd(const Tensor<T>& x) {
  return {slice(x, -1, 0, x.size(-1), 2), slice(x, -1, 1, x.size(-1), 2)};
}

/// (a_0, b_0, a_1, b_1, …) along the last axis.
template <Floating T>
Tensor<T> interleave(const Tensor<T>& a, const Tensor<T>& b) {
  Shape shape = a.shape();
  shape[-1] *= 2;
  return reshape(concat<T>({unsqueeze(a, -1), unsqueeze(b, -1)}, -1), shape);
}

/// The partners of x: what is multiplied with the sines.
template <Floating T>
Tensor<T> rotary_partners(const Tensor<T>& x, RotaryLayout layout) {
  const auto [even, odd] = even_and_odd(x);
  return layout == RotaryLayout::pairs ? interleave(-odd, even) : concat<T>({-odd, even}, -1);
}

/// The transpose of that map.
template <Floating T>
Tensor<T> rotary_partners_transposed(const Tensor<T>& g, RotaryLayout layout) {
  if (layout == RotaryLayout::pairs) {
    const auto [even, odd] = even_and_odd(g);
    return interleave(odd, -even);
  }
  const auto half = chunk(g, 2, -1);
  return interleave(half[1], -half[0]);
}

}  // namespace detail

/// x [B,H,N,D] turned by its positions first … first + N−1; cosines and sines [N_max ≥ first + N, D] in
/// the compute type.
template <Floating T>
Tensor<T> rotary(const Tensor<T>& x, const Tensor<compute_t<T>>& cosines,
                 const Tensor<compute_t<T>>& sines, RotaryLayout layout = RotaryLayout::pairs,
                 index_t first = 0) {
  using C = compute_t<T>;
  check(x.rank() == 4 && x.size(3) % 2 == 0, "[rotary] expected heads [B,H,N,D] of even D, got {}",
        x.shape());
  check(cosines.rank() == 2 && cosines.size(1) == x.size(3) && sines.shape() == cosines.shape(),
        "[rotary] heads {} take tables [N_max,{}], got {} and {}", x.shape(), x.size(3),
        cosines.shape(), sines.shape());
  const index_t end = first + x.size(2);
  check(first >= 0 && end <= cosines.size(0), "[rotary] got {} tokens, the tables hold {} positions",
        end, cosines.size(0));
  const Tensor<C> c = slice(cosines, 0, first, end), s = slice(sines, 0, first, end);
  Tensor<T> y = no_grad([&] {
    const Tensor<C> wide = x.detach().template to<C>();
    return map(_1 * _2 + _3 * _4, wide, c, detail::rotary_partners(wide, layout), s)
        .template to<T>();
  });
  if (recording(x))
    record("rotary", y, Inputs(x), [c, s, layout](Backward& b) {
      const Tensor<C> dy = b.grad<T>().template to<C>();
      const Tensor<C> dx = map(_1 * _2 + _3, dy, c,
                               detail::rotary_partners_transposed(dy * s, layout));
      b.give(0, dx.template to<T>());
    });
  return y;
}

/// The tables for `length` positions of heads of `width` channels.
template <Floating T>
class Rotary : public Module<T> {
 public:
  Rotary(index_t length, index_t width, RotaryLayout layout = RotaryLayout::pairs,
         double base = 10000)
      : layout_(layout) {
    check(length > 0 && width > 0 && width % 2 == 0,
          "[rotary] expected positions and an even number of channels a head, got {} and {}", length,
          width);
    std::vector<T> c, s;
    for (index_t n = 0; n < length; ++n)
      for (index_t d = 0; d < width; ++d) {
        const double rate =
            std::pow(base, -2 * static_cast<double>(d / 2) / static_cast<double>(width));
        c.push_back(static_cast<T>(std::cos(static_cast<double>(n) * rate)));
        s.push_back(static_cast<T>(std::sin(static_cast<double>(n) * rate)));
      }
    cosines_ = this->add_buffer("C", from_vector(c, {length, width}), false);
    sines_ = this->add_buffer("S", from_vector(s, {length, width}), false);
  }

  /// x [B,H,N,D], whose tokens stand at `first` and behind it → the same shape.
  template <Floating A>
  Tensor<A> operator()(const Tensor<A>& x, index_t first = 0) const {
    return rotary(x, cosines_, sines_, layout_, first);
  }

 private:
  RotaryLayout layout_;
  Tensor<T> cosines_, sines_;
};

}  // namespace flr::nn
