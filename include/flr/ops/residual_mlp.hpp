// FLARE's residual MLP as one fused operation.
//
//   a₀ = act(W₀x + b₀) (+ x), aᵢ = aᵢ₋₁ + act(Wᵢaᵢ₋₁ + bᵢ), y = W_{L+1}a_L + b_{L+1} (+ a_L)
// A chunk of rows goes through all layers while it is in cache. Saves x and, where the backend wants
// them, the pre-activations; the activations are made again in backward.
#pragma once

#include "flr/core/explain.hpp"
#include "flr/ops/linear.hpp"

namespace flr {

struct ResidualMlpOptions {
  bool residual_in = false;   ///< adds x to the first activation where in = hidden
  bool residual_out = false;  ///< adds the last activation to the result where hidden = out
  Activation act = Activation::gelu_tanh;
};

/// The definition in simple operations: weights and biases in order, L + 2 of each.
template <Floating T>
Tensor<T> residual_mlp_composition(const Tensor<T>& x, const std::vector<Tensor<T>>& w,
                                   const std::vector<Tensor<T>>& b, const ResidualMlpOptions& o) {
  Tensor<T> a = linear(x, w[0], b[0], o.act);
  if (o.residual_in && x.size(-1) == a.size(-1)) a = a + x;
  for (std::size_t i = 1; i + 1 < w.size(); ++i) a = a + linear(a, w[i], b[i], o.act);
  Tensor<T> y = linear(a, w.back(), b.back());
  return o.residual_out && y.size(-1) == a.size(-1) ? y + a : y;
}

/// x [.., in], w = {[hid,in], L × [hid,hid], [out,hid]}, b = their biases → [.., out].
template <Floating T>
Tensor<T> residual_mlp(const Tensor<T>& x, const std::vector<Tensor<T>>& w,
                       const std::vector<Tensor<T>>& b, const ResidualMlpOptions& o = {}) {
  check(w.size() >= 2 && w.size() == b.size(),
        "[residual_mlp] expected at least two weights and as many biases; got {} and {}", w.size(),
        b.size());
  ResidualMlpParams<T> p;
  p.layers = static_cast<int>(w.size()) - 2;
  p.in = w[0].size(1), p.hid = w[0].size(0), p.out = w.back().size(0);
  check(x.size(-1) == p.in, "[residual_mlp] expected x [.., {}], got {}", p.in, x.shape());
  for (std::size_t i = 0; i < w.size(); ++i) {
    const Shape expected{i + 1 == w.size() ? p.out : p.hid, i == 0 ? p.in : p.hid};
    check(w[i].shape() == expected && b[i].shape() == Shape{expected[0]},
          "[residual_mlp] layer {}: expected a weight {} and a bias [{}]; got {} and {}", i, expected,
          expected[0], w[i].shape(), b[i].shape());
  }
  p.residual_in = o.residual_in && p.in == p.hid;
  p.residual_out = o.residual_out && p.hid == p.out;
  p.act = o.act;
  p.rows = p.in ? x.numel() / p.in : 0;
  std::string why;
  const auto& table = backend<T>(x.device());
  const bool fused = p.layers <= max_mlp_layers && table.supports_residual_mlp(p, &why);
  explain([&] {
    if (p.layers > max_mlp_layers) why = fmt::format("more than {} layers", max_mlp_layers);
    return fmt::format("[residual_mlp] rows={} in={} hidden={} out={} layers={} {} on {}: {}", p.rows,
                       p.in, p.hid, p.out, p.layers, name_of(dtype_of<T>), x.device().str(),
                       fused ? "fused" : "composition of linear layers; fused: " + why);
  });
  if (!fused) return residual_mlp_composition(x, w, b, o);

  const Tensor<T> in = contiguous(x);
  Shape shape = x.shape();
  shape[-1] = p.out;
  auto y = Tensor<T>::empty(shape, x.device());
  bool tape = recording(in);
  Inputs inputs(in);
  std::vector<Saved<T>> saved;
  for (std::size_t i = 0; i < w.size(); ++i) {
    check(w[i].is_contiguous() && b[i].is_contiguous(),
          "[residual_mlp] layer {}: weights must be contiguous", i);
    p.w[i] = w[i].data();
    p.b[i] = b[i].data();
    tape = tape || recording(w[i], b[i]);
    inputs.edges.push_back(detail::edge_of(w[i]));
    inputs.edges.push_back(detail::edge_of(b[i]));
  }
  Tensor<T> pre;
  const bool saves_pre = tape && table.mlp_saves_pre;
  if (saves_pre) pre = Tensor<T>::empty({p.layers + 1, p.rows, p.hid}, x.device());
  p.x = in.data();
  p.y = y.mutable_data();
  p.pre = saves_pre ? pre.mutable_data() : nullptr;
  table.residual_mlp(p);

  if (tape) {
    for (const Tensor<T>& t : w) saved.push_back(save(t));
    std::vector<Saved<T>> biases;
    if (!saves_pre)
      for (const Tensor<T>& t : b) biases.push_back(save(t));
    record("residual_mlp", y, inputs,
           [f = p, x = save(in), w = std::move(saved), b = std::move(biases),
            pre = save(pre)](Backward& back) {
             const Tensor<T> dy = back.grad<T>();
             ResidualMlpBackwardParams<T> p;
             p.rows = f.rows, p.in = f.in, p.hid = f.hid, p.out = f.out, p.layers = f.layers;
             p.residual_in = f.residual_in, p.residual_out = f.residual_out, p.act = f.act;
             p.x = x.get("residual_mlp").data(), p.dy = dy.data();
             if (b.empty()) p.pre = pre.get("residual_mlp").data();
             for (std::size_t i = 0; i < b.size(); ++i) p.b[i] = b[i].get("residual_mlp").data();
             auto dx = back.target<T>(0);
             p.dx = dx.data(), p.dx_mode = dx.mode();
             std::vector<GradTarget<compute_t<T>>> targets;
             targets.reserve(2 * w.size());
             for (std::size_t i = 0; i < w.size(); ++i) {
               p.w[i] = w[i].get("residual_mlp").data();
               auto& dw = targets.emplace_back(back.target<compute_t<T>>(1 + 2 * static_cast<int>(i)));
               p.dw[i] = dw.data(), p.dw_mode[i] = dw.mode();
               auto& db = targets.emplace_back(back.target<compute_t<T>>(2 + 2 * static_cast<int>(i)));
               p.db[i] = db.data(), p.db_mode[i] = db.mode();
             }
             backend<T>(dy.device()).residual_mlp_backward(p);
           });
  }
  return y;
}

}  // namespace flr
