// FLARE's residual MLP: a chunk of rows passes all layers, forward or backward, while its
// activations are in the first and second level caches. Formulas are with ResidualMlpParams.
#pragma once

#include <string>
#include <vector>

#include "flr/cpu/linear.hpp"

FLR_CPU_BEGIN
namespace dense {

/// Extents of the layers of a residual MLP, and its weights as right operands.
template <class P>
struct MlpLayers {
  const P& p;
  int count() const { return p.layers + 2; }
  index_t in(int layer) const { return layer == 0 ? p.in : p.hid; }
  index_t out(int layer) const { return layer == p.layers + 1 ? p.out : p.hid; }
  index_t widest() const {
    const index_t w = p.in > p.out ? p.in : p.out;
    return w > p.hid ? w : p.hid;
  }
};

/// All weights packed, transposed (k = in) for forward products or as they are (k = out).
template <class T>
class PackedLayers {
 public:
  template <class P>
  PackedLayers(const MlpLayers<P>& layers, bool transposed)
      : room_(offset(layers, layers.count(), transposed)) {
    const auto pack_layer = [&](index_t index) {
      const int l = static_cast<int>(index);
      const index_t in = layers.in(l), out = layers.out(l);
      T* to = room_.data() + offset(layers, l, transposed);
      operand_[l] = transposed ? pack(in, out, layers.p.w[l], index_t{1}, in, to)
                               : pack(out, in, layers.p.w[l], in, index_t{1}, to);
    };
    // Below this, waking the threads takes longer than packing.
    if (offset(layers, layers.count(), transposed) < parallel_packing)
      for (int l = 0; l < layers.count(); ++l) pack_layer(l);
    else
      parallel_for(layers.count(), pack_layer);
  }
  RightOperand<T> operator[](int layer) const { return operand_[layer]; }

 private:
  template <class P>
  static index_t offset(const MlpLayers<P>& layers, int layer, bool transposed) {
    index_t total = 0;
    for (int l = 0; l < layer; ++l)
      total += transposed ? packed_size<T>(layers.in(l), layers.out(l))
                          : packed_size<T>(layers.out(l), layers.in(l));
    return total;
  }
  flr::detail::Scratch<T> room_;
  RightOperand<T> operand_[max_mlp_layers + 2] = {};
};

template <class P>
void check_mlp(const char* where, const P& p) {
  check(p.layers >= 0 && p.layers <= max_mlp_layers, "[{}] expected 0 to {} layers, got {}", where,
        max_mlp_layers, p.layers);
  check(p.rows >= 0 && p.in >= 1 && p.hid >= 1 && p.out >= 1,
        "[{}] expected extents of 1 or more; got in {}, hid {}, out {} for {} rows", where, p.in,
        p.hid, p.out, p.rows);
  check((!p.residual_in || p.in == p.hid) && (!p.residual_out || p.hid == p.out),
        "[{}] expected equal widths around a residual connection; got in {}, hid {}, out {}", where,
        p.in, p.hid, p.out);
}

}  // namespace dense

/// Takes every depth up to max_mlp_layers; declines wide layers, whose weights leave no room in the
/// second-level cache and are better off as single products.
template <class T>
bool supports_residual_mlp(const ResidualMlpParams<T>& p, std::string* why) {
  constexpr index_t widest = 512;
  const auto decline = [&](std::string text) {
    if (why) *why = std::move(text);
    return false;
  };
  if (p.layers < 0 || p.layers > max_mlp_layers)
    return decline(fmt::format("{} layers, at most {}", p.layers, max_mlp_layers));
  const index_t width = dense::MlpLayers<ResidualMlpParams<T>>{p}.widest();
  if (width > widest) return decline(fmt::format("width {}, at most {}", width, widest));
  return true;
}

template <class T>
void residual_mlp(const ResidualMlpParams<T>& p) {
  dense::check_mlp("residual_mlp", p);
  if (p.rows == 0) return;
  const dense::MlpLayers<ResidualMlpParams<T>> layers{p};
  const dense::PackedLayers<T> w(layers, true);
  const auto chunks = dense::cut_rows(p.rows, dense::target_rows(layers.widest()));
  parallel_for(chunks.count, [&](index_t chunk) {
    const index_t r = chunks.begin(chunk), rows = chunks.length(chunk), size = rows * p.hid;
    flr::detail::Scratch<T> a_room(size), p_room(p.pre ? 0 : size);
    T* a = a_room.data();
    const T* x = p.x + r * p.in;
    for (int l = 0; l <= p.layers; ++l) {
      T* pre = p.pre ? p.pre + (l * p.rows + r) * p.hid : p_room.data();
      const T* from = l == 0 ? x : a;
      const index_t in = layers.in(l);
      dense::layer_product<T>(rows, in, p.hid, from, p.w[l], w[l], pre, false);
      const T* skip = l > 0 ? a : p.residual_in ? x : nullptr;
      dense::finish_rows(p.act, rows, p.hid, pre, p.b[l], skip, a);
    }
    const int last = p.layers + 1;
    T* y = p.y + r * p.out;
    if (p.residual_out) dense::add_or_copy(size, a, y, false);
    dense::layer_product<T>(rows, p.hid, p.out, a, p.w[last], w[last], y, p.residual_out);
    dense::finish_rows<T>(Activation::identity, rows, p.out, y, p.b[last], nullptr, y);
  });
}

/// Activations and their derivatives are made again from the saved pre-activations, in one pass
/// that shares the transcendental functions. Each group of chunks sums its own weight gradients;
/// the groups are then added in order.
template <class T>
void residual_mlp_backward(const ResidualMlpBackwardParams<T>& p) {
  dense::check_mlp("residual_mlp_backward", p);
  const dense::MlpLayers<ResidualMlpBackwardParams<T>> layers{p};
  const int last = p.layers + 1;
  std::vector<dense::PartialSum<T>> sums;
  index_t parameters = 0;
  for (int l = 0; l <= last; ++l) {
    const index_t n = p.dw_mode[l] == GradMode::ignore ? 0 : layers.in(l)*layers.out(l);
    sums.push_back({parameters, n, p.dw[l], p.dw_mode[l]});
    parameters += n;
    const index_t b = p.db_mode[l] == GradMode::ignore ? 0 : layers.out(l);
    sums.push_back({parameters, b, p.db[l], p.db_mode[l]});
    parameters += b;
  }
  const dense::PackedLayers<T> w(layers, false);
  const auto chunks = dense::cut_rows(p.rows, dense::target_rows(layers.widest()));
  const index_t groups = dense::gradient_groups<T>(chunks.count, parameters);
  flr::detail::Scratch<T> partials(groups * parameters);
  parallel_for(groups, [&](index_t group) {
    const index_t most = chunks.size * p.hid;
    flr::detail::Scratch<T> values((p.layers + 1) * most), slopes((p.layers + 1) * most);
    flr::detail::Scratch<T> da_room(most), dp_room(most);
    flr::detail::Scratch<T> room(dense::packed_size<T>(chunks.size, layers.widest()));
    T *da = da_room.data(), *dp = dp_room.data();
    const index_t first = group * chunks.count / groups, end = (group + 1) * chunks.count / groups;
    for (index_t chunk = first; chunk < end; ++chunk) {
      const index_t r = chunks.begin(chunk), rows = chunks.length(chunk), size = rows * p.hid;
      const bool add = chunk > first;
      const T *x = p.x + r * p.in, *dy = p.dy + r * p.out;
      const auto partial = [&](const dense::PartialSum<T>& s) {
        return s.n ? partials.data() + group * parameters + s.offset : nullptr;
      };
      const auto weight_gradient = [&](int l, const T* gradient, const T* input) {
        T* dw = partial(sums[2 * l]);
        if (!dw) return;
        const index_t in = layers.in(l), out = layers.out(l);
        const auto right = dense::right_operand(rows, in, input, in, room.data());
        dense::multiply(out, in, rows, {gradient, 1, out}, right, dw, in, add);
      };

      for (int l = 0; l <= p.layers; ++l) {
        const T* skip = l > 0 ? values.data() + (l - 1) * most : p.residual_in ? x : nullptr;
        dense::value_and_slope(p.act, size, p.pre + (l * p.rows + r) * p.hid, skip,
                               values.data() + l * most, slopes.data() + l * most);
      }
      if (T* db = partial(sums[2 * last + 1])) dense::column_sums(rows, p.out, dy, db, add);
      weight_gradient(last, dy, values.data() + p.layers * most);
      if (p.residual_out) dense::add_or_copy(size, dy, da, false);
      dense::multiply(rows, p.hid, p.out, {dy, p.out, 1}, w[last], da, p.hid, p.residual_out);
      for (int l = p.layers; l >= 0; --l) {
        dense::multiply_rows(rows, p.hid, da, slopes.data() + l * most, dp,
                             partial(sums[2 * l + 1]), add);
        weight_gradient(l, dp, l > 0 ? values.data() + (l - 1) * most : x);
        if (l > 0) dense::multiply(rows, p.hid, p.hid, {dp, p.hid, 1}, w[l], da, p.hid, true);
      }
      if (p.dx_mode == GradMode::ignore) continue;
      const bool add_dx = p.dx_mode == GradMode::accumulate;
      T* dx = p.dx + r * p.in;
      if (p.residual_in) dense::add_or_copy(size, da, dx, add_dx);
      dense::multiply(rows, p.in, p.hid, {dp, p.hid, 1}, w[0], dx, p.in, add_dx || p.residual_in);
    }
  });
  dense::reduce_partials(groups, parameters, partials.data(), sums.data(),
                         static_cast<int>(sums.size()));
}

FLR_CPU_END
