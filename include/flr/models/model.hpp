// What all models on point clouds share: features of N points in, fields at the points out.
#pragma once

#include "flr/mixers.hpp"
#include "flr/nn/residual_stream.hpp"

namespace flr::models {

/// What backward makes again instead of keeping it: nothing, the MLPs (three in a FLARE block), or
/// whole blocks. Time for memory; the bits stay the same.
enum class Recompute : unsigned char { none, mlp, block };

/// x [B,N,c_in] → [B,N,c_out].
template <Floating T>
class Model : public nn::Module<T> {
 public:
  virtual Tensor<T> operator()(const Tensor<T>& x) const = 0;
  /// The same with activations in bf16, for models that can.
  virtual Tensor<bf16> operator()(const Tensor<bf16>&) const {
    fail("[{}] this model runs with activations in the type of its parameters only, not in bf16",
         name());
  }
  virtual const char* name() const = 0;

  /// Whether apply() computes in bf16. To be called after to().
  void activate_in_bf16(bool on) {
    in_bf16_ = on;
    if (on) this->keep_bf16();
  }
  bool activates_in_bf16() const { return in_bf16_; }
  /// The prediction in T, whatever the activations in between are.
  Tensor<T> apply(const Tensor<T>& x) const {
    if (!in_bf16_) return (*this)(x);
    return in_bf16(x).template to<T>();
  }

  void set_recompute(Recompute what) {
    recompute_ = what;
    this->recompute_mlps(what == Recompute::mlp);
  }
  Recompute recompute_what() const { return recompute_; }
  /// The FLARE layers, first block first; empty for models without.
  virtual std::vector<const mixers::Flare<T>*> flare_layers() const { return {}; }
  /// What each block's mixer is given for an input x, for looking at its weights.
  virtual std::vector<Tensor<T>> mixer_inputs(const Tensor<T>&) const { return {}; }

 protected:
  /// Activations in bf16 from inputs in T. A model whose first layer takes them in two pieces
  /// (ResidualMLP::in_bf16) overrides this.
  virtual Tensor<bf16> in_bf16(const Tensor<T>& x) const {
    return (*this)(x.template to<bf16>());
  }

 private:
  bool in_bf16_ = false;
  Recompute recompute_ = Recompute::none;
};

/// The projections that FLARE and the transformer have in front and behind.
struct ProjectionOptions {
  index_t c_in = 2, c_out = 1, channels = 64;
  int layers = 2;
  double ratio = 1;  ///< hidden width over channels
  bool out_norm = true;
  nn::NormKind norm = nn::NormKind::layer;
  Activation act = Activation::gelu_tanh;
  const char* norm_name = "out_proj.0";  ///< what the reference calls the parts of the output
  const char* out_name = "out_proj.1";
};

/// in_proj: c_in → C, and out_proj: (norm and) C → c_out.
template <Floating T>
struct Projections {
  explicit Projections(const ProjectionOptions& o)
      : in(o.c_in, width(o), o.channels, o.layers, {false, true, o.act}),
        out(o.channels, width(o), o.c_out, o.layers, {true, false, o.act}) {
    if (o.out_norm) norm = std::make_unique<nn::Norm<T>>(o.channels, o.norm);
  }

  template <Floating A>
  Tensor<A> head(const nn::ResidualStream<A>& s) const {
    return out(norm ? norm->of_sum(s.x, s.pending).norm : s.sum());
  }

  nn::ResidualMLP<T> in, out;
  std::unique_ptr<nn::Norm<T>> norm;

 private:
  static index_t width(const ProjectionOptions& o) {
    return static_cast<index_t>(o.ratio * static_cast<double>(o.channels));
  }
};

/// A stack of blocks between projections; what FLARE, its ablations and the transformer have in
/// common, under the reference's names.
template <Floating T, class B>
class BlockModel : public Model<T> {
 public:
  Tensor<T> operator()(const Tensor<T>& x) const override { return forward(x); }
  Tensor<bf16> operator()(const Tensor<bf16>& x) const override {
    if constexpr (std::same_as<T, float>) return forward(x);
    else return Model<T>::operator()(x);
  }

  std::vector<Tensor<T>> mixer_inputs(const Tensor<T>& x_in) const override {
    NoGrad scope;
    std::vector<Tensor<T>> list;
    Tensor<T> x = projections_.in(x_in);
    for (const auto& block : blocks_) {
      list.push_back(block->norm1(x));
      x = (*block)(x);
    }
    return list;
  }

 protected:
  template <class MakeBlock>
  BlockModel(const ProjectionOptions& o, int blocks, MakeBlock&& make_block) : projections_(o) {
    check(blocks >= 0, "[model] expected 0 or more blocks, got {}", blocks);
    this->add_child("in_proj", projections_.in);
    for (int i = 0; i < blocks; ++i) {
      blocks_.push_back(make_block());
      this->add_child("blocks." + std::to_string(i), *blocks_.back());
    }
    if (projections_.norm) this->add_child(o.norm_name, *projections_.norm);
    this->add_child(o.out_name, projections_.out);
    nn::init_flare(*this);
  }

  Projections<T> projections_;
  std::vector<std::unique_ptr<B>> blocks_;

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
    check(x.rank() == 3, "[{}] expected x [B,N,c_in], got {}", this->name(), x.shape());
  }
  template <Floating A>
  Tensor<A> through_blocks(Tensor<A> x) const {
    const bool again = this->recompute_what() == Recompute::block;
    nn::ResidualStream<A> stream{std::move(x), {}};
    for (const auto& owner : blocks_) {
      const B& block = *owner;
      if (again) stream = {recompute([&block](const Tensor<A>& t) { return block(t); }, stream.sum()), {}};
      else stream = block(std::move(stream));
    }
    return projections_.head(stream);
  }
};

/// One pre-norm block of any mixer and any MLP: x ← x + mix(norm1 x), x ← x + mlp(norm2 x).
template <Floating T, class Mixer, class Mlp>
class Block : public nn::Module<T> {
 public:
  /// `norm_name`: norm in the reference's models, ln in its ablations.
  template <class MakeMixer, class MakeMlp>
  Block(index_t channels, nn::NormKind kind, const std::string& norm_name, MakeMixer&& make_mixer,
        MakeMlp&& make_mlp)
      : norm1(channels, kind), norm2(channels, kind), att(make_mixer()), mlp(make_mlp()) {
    this->add_child(norm_name + "1", norm1);
    this->add_child("att", *att);
    this->add_child(norm_name + "2", norm2);
    this->add_child("mlp", *mlp);
  }

  template <Floating A>
  Tensor<A> operator()(const Tensor<A>& x) const {
    return (*this)(nn::ResidualStream<A>{x, {}}).sum();
  }
  template <Floating A>
  nn::ResidualStream<A> operator()(nn::ResidualStream<A> in) const {
    SumAndNorm<A> s = norm1.of_sum(in.x, in.pending);
    in = {};  // each tensor goes as soon as the next ones are there
    in.pending = (*att)(std::exchange(s.norm, {}));
    s = norm2.of_sum(s.sum, in.pending);
    in = {};
    return {s.sum, (*mlp)(s.norm)};
  }

  nn::Norm<T> norm1, norm2;
  std::unique_ptr<Mixer> att;
  std::unique_ptr<Mlp> mlp;
};

}  // namespace flr::models
