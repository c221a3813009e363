// Luna on points (arXiv 2106.01540; the shell, names and sizes of FLARE.py's luna): blocks that carry
// packed tokens beside the points.
//
//   (Y_X, Y_P) = Luna(norm1 X, norm_p P);   X ← X + Y_X,  P ← P + Y_P;   X ← X + mlp(norm2 X)
#pragma once

#include "flr/models/model.hpp"

namespace flr::models {

struct LunaOptions {
  index_t c_in = 2, c_out = 1, channels = 128, heads = 8, latents = 64;
  int blocks = 8;
  std::optional<Activation> act;  ///< tanh-GELU if not given
  bool rmsnorm = false, qk_norm = false, out_norm = true;
  int in_out_layers = 2, ffn_layers = 0;
  double ffn_ratio = 2;

  nn::NormKind norm() const { return rmsnorm ? nn::NormKind::rms : nn::NormKind::layer; }
  double epsilon() const { return rmsnorm ? 1e-6 : 1e-5; }
  Activation activation() const { return act.value_or(Activation::gelu_tanh); }
  index_t hidden() const { return static_cast<index_t>(ffn_ratio * static_cast<double>(channels)); }
};

template <Floating T>
class LunaBlock : public nn::Module<T> {
 public:
  explicit LunaBlock(const LunaOptions& o)
      : norm1_(o.channels, o.norm(), o.epsilon()),
        norm_p_(o.channels, o.norm(), o.epsilon()),
        norm2_(o.channels, o.norm(), o.epsilon()),
        att_({.channels = o.channels, .heads = o.heads, .latents = o.latents, .qk_norm = o.qk_norm,
              .norm = o.norm()}),
        mlp_(o.channels, o.hidden(), o.channels, o.ffn_layers, {false, false, o.activation()}) {
    this->add_child("norm1", norm1_);
    this->add_child("norm_p", norm_p_);
    this->add_child("norm2", norm2_);
    this->add_child("att", att_);
    this->add_child("mlp", mlp_);
  }

  /// Points x [B,N,C] and packed tokens p [B or 1,M,C] → both, one block further.
  template <Floating A>
  mixers::LunaOutput<A> operator()(const Tensor<A>& x_in, const Tensor<A>& p) const {
    const mixers::LunaOutput<A> y = att_(norm1_(x_in), norm_p_(p));
    const auto [x, normed] = norm2_.of_sum(x_in, y.x);
    return {x + mlp_(normed), p + y.p};
  }

 private:
  nn::Norm<T> norm1_, norm_p_, norm2_;
  mixers::Luna<T> att_;
  nn::ResidualMLP<T> mlp_;
};

template <Floating T>
class Luna : public Model<T> {
 public:
  explicit Luna(const LunaOptions& o)
      : projections_({o.c_in, o.c_out, o.channels, o.in_out_layers, 1, o.out_norm, o.norm(),
                      o.activation()}) {
    check(o.blocks >= 0 && o.latents > 0,
          "[luna] expected 0 or more blocks and at least one packed token, got {} and {}", o.blocks,
          o.latents);
    this->add_child("in_proj", projections_.in);
    if (projections_.norm) this->add_child("out_proj.0", *projections_.norm);
    this->add_child("out_proj.1", projections_.out);
    packed_embed_ =
        this->add_parameter("packed_embed", {o.latents, o.channels}, nn::Role::latent);
    nn::normal(packed_embed_, 1 / std::sqrt(static_cast<double>(o.channels)));
    for (int i = 0; i < o.blocks; ++i) {
      blocks_.push_back(std::make_unique<LunaBlock<T>>(o));
      this->add_child("blocks." + std::to_string(i), *blocks_.back());
    }
    nn::init_flare(*this);
  }

  const char* name() const override { return "luna"; }
  Tensor<T> operator()(const Tensor<T>& x) const override { return forward(x); }
  Tensor<bf16> operator()(const Tensor<bf16>& x) const override {
    if constexpr (std::same_as<T, float>) return forward(x);
    else return Model<T>::operator()(x);
  }

 private:
  Tensor<bf16> in_bf16(const Tensor<T>& x) const override {
    if constexpr (!std::same_as<T, float>) return Model<T>::in_bf16(x);
    else return check_input(x), through_blocks(projections_.in.in_bf16(x));
  }
  template <Floating A>
  Tensor<A> forward(const Tensor<A>& x) const {
    check_input(x);
    return through_blocks(projections_.in(x));
  }
  template <Floating A>
  void check_input(const Tensor<A>& x) const {
    check(x.rank() == 3, "[luna] expected x [B,N,c_in], got {}", x.shape());
    check(this->recompute_what() != Recompute::block,
          "[luna] whole blocks are not recomputed here, since they carry packed tokens; MLPs can be");
  }
  template <Floating A>
  Tensor<A> through_blocks(const Tensor<A>& x) const {
    mixers::LunaOutput<A> s{x, unsqueeze(this->template parameter_as<A>(packed_embed_), 0)};
    for (const auto& block : blocks_) s = (*block)(s.x, s.p);
    return projections_.head(nn::ResidualStream<A>{s.x, {}});
  }

  Projections<T> projections_;
  Tensor<T> packed_embed_;
  std::vector<std::unique_ptr<LunaBlock<T>>> blocks_;
};

}  // namespace flr::models
