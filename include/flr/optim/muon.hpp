// Muon (Jordan et al. 2024): momentum whose matrices are orthogonalised by Newton–Schulz.
//
//   m ← μm + (1−μ)g, u = (1−μ)g + μm (Nesterov by interpolation);
//   X₀ = u/‖u‖, five times X ← aX + (bA + cA²)X, A = XXᵀ, (a, b, c) = (3.4445, −4.7750, 2.0315);
//   p ← p(1 − lr·λ) − lr·√max(1, rows/cols)·X.
// Hidden matrices take Muon; everything else (biases, norms, embeddings, latents, the first and last
// layers of the model) takes AdamW.
#pragma once

#include <map>

#include "flr/optim/optimizer.hpp"

namespace flr::optim {

struct MuonOptions {
  double lr = 2e-2, momentum = 0.95, weight_decay = 0;
  int ns_steps = 5;
  /// AdamW for the parameters that Muon does not take.
  double adam_lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  GroupOptions groups = {};
  /// Whether a matrix takes Muon: by default those of the blocks, as in the reference.
  bool (*takes_muon)(const std::string& name, nn::Role role) = [](const std::string& name,
                                                                 nn::Role role) {
    return role == nn::Role::weight && name.find("block") != std::string::npos;
  };
};

/// The orthogonal factor of each matrix in x [batch, rows, cols], nearly: singular values end up in
/// about [0.7, 1.2].
template <Floating T>
Tensor<T> newton_schulz(const Tensor<T>& x_in, int steps = 5) {
  check(x_in.rank() == 3, "[newton_schulz] expected [batch, rows, cols], got {}", x_in.shape());
  NoGrad scope;
  const bool tall = x_in.size(1) > x_in.size(2);
  Tensor<T> x = contiguous(tall ? transpose(x_in, 1, 2) : x_in);
  x = map(_1 / (sqrt(_2) + 1e-7), x, sum(square(x), {1, 2}, true));
  for (int i = 0; i < steps; ++i) {
    const Tensor<T> a = matmul(x, transpose(x, 1, 2));
    const Tensor<T> b = map(_1 * -4.7750 + _2 * 2.0315, a, matmul(a, a));
    x = map(_1 * 3.4445 + _2, x, matmul(b, x));
  }
  return tall ? contiguous(transpose(x, 1, 2)) : x;
}

template <Floating T>
class Muon : public Optimizer<T> {
 public:
  Muon(nn::Module<T>& module, MuonOptions o)
      : Optimizer<T>(module, {o.lr, o.momentum, o.beta2, o.weight_decay}, o.groups), o_(o),
        m_(this->new_state()), v_(this->new_state()) {
    for (const auto& e : this->arena().entries) {
      if (e.shape.rank() == 2 && o.takes_muon(e.name, e.role))
        matrices_[{e.shape[0], e.shape[1]}].push_back(e.offset);
      else rest_[static_cast<int>(group_of(e.name, e.role, o.groups))].push_back(
               {e.offset, e.offset + e.numel});
    }
  }

  std::vector<NamedState<T>> state() override {
    return {{"momentum_buffer", m_}, {"exp_avg_sq", v_}};
  }
  /// How many matrices Muon takes.
  index_t matrices() const {
    index_t n = 0;
    for (const auto& [shape, list] : matrices_) n += static_cast<index_t>(list.size());
    return n;
  }

 protected:
  void update() override {
    NoGrad scope;
    for (const auto& [shape, offsets] : matrices_) update_matrices(shape, offsets);
    UpdateParams<T> p;
    p.rule = UpdateRule::adamw, p.eps = o_.eps;
    p.p = this->arena().values.mutable_data(), p.g = this->arena().gradients.data();
    p.m = m_.mutable_data(), p.v = v_.mutable_data();
    p.norm_squared = this->measured_norm();
    for (int g = 0; g < static_cast<int>(Group::count); ++g) {
      if (rest_[g].empty()) continue;
      p.ranges = rest_[g].data(), p.range_count = static_cast<int>(rest_[g].size());
      p.s = this->device_scalars(static_cast<Group>(g));
      backend<T>(this->arena().values.device()).update(p);
    }
  }

  /// Of AdamW's part. The schedule moves Muon's rate; AdamW's keeps its ratio to it.
  StepScalars scalars(Group group) const override {
    StepScalars s = Optimizer<T>::scalars(group);
    s.lr = o_.lr > 0 ? this->hyper.lr * (o_.adam_lr / o_.lr) : o_.adam_lr;
    s.beta1 = o_.beta1;
    s.correction1 = 1 - std::pow(o_.beta1, static_cast<double>(this->steps_));
    return s;
  }

 private:
  using MatrixShape = std::pair<index_t, index_t>;

  /// All matrices of one shape at once: they are one batch for the matrix products.
  void update_matrices(const MatrixShape& shape, const std::vector<index_t>& offsets) {
    using C = compute_t<T>;
    const Shape matrix{shape.first, shape.second};
    const auto part = [&](const Tensor<T>& flat, index_t offset) {
      return flr::detail::view_of(flat, matrix, contiguous_strides(matrix), offset);
    };
    const double mu = this->hyper.beta1;
    std::vector<Tensor<T>> updates;
    for (index_t offset : offsets) {
      const Tensor<T> g =
          part(this->arena().gradients, offset) * static_cast<C>(this->grad_scale_);
      Tensor<T> m = part(m_, offset);
      m.copy_(map(_1 * mu + _2 * (1 - mu), m, g));
      updates.push_back(unsqueeze(map(_1 * (1 - mu) + _2 * mu, g, m), 0));
    }
    const Tensor<T> x = newton_schulz(concat(updates, 0), o_.ns_steps);
    const double ratio = static_cast<double>(shape.first) / static_cast<double>(shape.second);
    const double step = this->hyper.lr * std::sqrt(std::max(1.0, ratio));
    const double keep = 1 - this->hyper.lr * this->hyper.weight_decay;
    for (std::size_t i = 0; i < offsets.size(); ++i) {
      Tensor<T> p = part(this->arena().values, offsets[i]);
      p.copy_(map(_1 * keep - _2 * step, p, x[static_cast<index_t>(i)]));
    }
  }

  MuonOptions o_;
  Tensor<T> m_, v_;
  std::map<MatrixShape, std::vector<index_t>> matrices_;
  std::vector<ArenaRange> rest_[static_cast<int>(Group::count)];
};

}  // namespace flr::optim
