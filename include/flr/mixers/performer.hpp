// Performer: linear attention with FAVOR+ features (Choromanski et al. 2021, arXiv 2009.14794).
#pragma once

#include "flr/mixers/favor.hpp"
#include "flr/mixers/linear.hpp"
#include "flr/mixers/own_type.hpp"

namespace flr::mixers {

/// q, k, v [B,H,N,D], rows [H,R,D] of favor_rows → [B,H,N,D], an estimate of
/// softmax(D^−½ q kᵀ) v. `keep` [B or 1,N] hides padding. Where the backend has one operation for it
/// (ops/performer.hpp), it is that; else features, rows and sums are of float where tokens are bf16.
template <Floating T>
Tensor<T> performer(const Tensor<T>& q, const Tensor<T>& k, const Tensor<T>& v,
                    const Tensor<compute_t<T>>& rows, const FavorOptions& o = {},
                    const Tensor<std::uint8_t>& keep = {}) {
  using C = compute_t<T>;
  const bool alike = k.shape() == v.shape() && q.size(0) == k.size(0) && q.size(1) == k.size(1);
  if (!o.legacy && alike) {  // legacy: keys have maxima of their own
    const double scale = 1 / std::sqrt(static_cast<double>(rows.size(1)));
    const Tensor<T> one = fused_performer(q, k, v, rows,
                                          {.factor = favor_factor(q.size(3), o),
                                           .scale = scale,
                                           .offset = o.epsilon,
                                           .keep = keep});
    if (one.defined()) return one;
  }
  return linear_attention<C>(favor_queries(q, rows, o), favor_keys(k, rows, o, keep),
                             v.template to<C>(), keep)
      .template to<T>();
}

struct PerformerOptions {
  index_t channels = 64, heads = 8;
  index_t features = 256;       ///< R, for each head
  index_t redraw_interval = 0;  ///< steps after which the features are drawn anew; 0: never
  FavorOptions favor = {};
  double drop = 0;  ///< behind out_proj
};

/// The features are a buffer, proj_matrix [H,R,D]: they are saved with the weights. (The reference
/// leaves them out of its checkpoints.)
template <Floating T>
class Performer : public nn::Module<T> {
 public:
  /// `rotary`, where given, turns q and k by their positions; it must outlive this module.
  explicit Performer(const PerformerOptions& o, const nn::Rotary<T>* rotary = nullptr)
      : o_(o),
        rotary_(rotary),
        stream_(random_state().call),
        qkv_proj_(o.channels, 3 * o.channels),
        out_proj_(o.channels, o.channels) {
    check(o.redraw_interval >= 0, "[performer] expected a redraw interval of 0 or more, got {}",
          o.redraw_interval);
    rows_ = this->add_buffer("proj_matrix", draw());
    this->add_child("qkv_proj", qkv_proj_);
    this->add_child("out_proj", out_proj_);
  }

  /// x [B,N,C] → [B,N,C]; `keep` [B or 1,N] hides padding. For activations in bf16 sums are of float, and
  /// features too where they are stored.
  template <Floating A>
  Tensor<A> operator()(const Tensor<A>& x, const Tensor<std::uint8_t>& keep = {}) const {
    const auto attend = [&]<Floating S>(const std::vector<Tensor<S>>& joint) {
      auto [q, k, v] = nn::split_qkv(joint[0], o_.heads);
      if (rotary_) q = (*rotary_)(q), k = (*rotary_)(k);
      return nn::merge_heads(
          performer(q, k, v, rows_.template to<compute_t<S>>(), o_.favor, keep));
    };
    // Turned vectors are not rounded in front of an exponential.
    const bool kernels = !rotary_ && backend<A>(x.device()).favor;
    const Tensor<A> y = in_own_type(std::vector{qkv_proj_(x)}, kernels, attend);
    return dropout(out_proj_(y), o_.drop, this->training());
  }

  /// Draws new features from the random state.
  void redraw() { rows_.copy_(draw().to(rows_.device())); }

 protected:
  /// Draws for a step depend on the seed, the step and the place of this layer in its model alone,
  /// so that a resumed run draws the same.
  void on_step(std::uint64_t step) override {
    const auto interval = static_cast<std::uint64_t>(o_.redraw_interval);
    if (interval == 0 || step == 0 || step % interval != 0) return;
    const RandomState now = random_state();
    random_state() = {now.seed, step, (std::uint64_t{1} << 31) + stream_};
    redraw();
    random_state() = now;
  }

 private:
  Tensor<T> draw() const {
    return favor_rows<T>(o_.heads, o_.features, nn::head_dim("performer", o_.channels, o_.heads),
                         o_.favor.legacy);
  }

  PerformerOptions o_;
  const nn::Rotary<T>* rotary_;
  std::uint64_t stream_;
  Tensor<T> rows_;
  nn::Linear<T> qkv_proj_, out_proj_;
};

}  // namespace flr::mixers
