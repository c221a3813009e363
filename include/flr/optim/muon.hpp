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

/// Matrices of one shape that lie in an arena as a grid: `outer` times `inner` of them, at constant
/// distances. A network of equal blocks gives few grids, and a grid is one tensor.
struct MatrixGrid {
  index_t rows = 0, cols = 0, offset = 0;
  index_t outer = 1, inner = 1, outer_step = 0, inner_step = 0;

  index_t matrices() const { return outer * inner; }

  /// The matrices as a view [outer, inner, rows, cols] of a flat tensor as long as the arena.
  template <Floating T>
  Tensor<T> in(const Tensor<T>& flat) const {
    return flr::detail::view_of(flat, Shape{outer, inner, rows, cols},
                                Shape{outer_step, inner_step, cols, 1}, offset);
  }
};

/// Joins matrices of rising offsets into grids: first runs at a constant distance, then runs of
/// equal length and distance.
inline std::vector<MatrixGrid> matrix_grids(index_t rows, index_t cols,
                                            const std::vector<index_t>& offsets) {
  std::vector<MatrixGrid> runs, grids;
  for (index_t offset : offsets) {
    MatrixGrid* last = runs.empty() ? nullptr : &runs.back();
    // A large distance begins another block, which may be the first of a run of its own.
    if (last && last->inner == 1 && offset - last->offset <= 2 * rows * cols)
      last->inner_step = offset - last->offset, ++last->inner;
    else if (last && last->inner > 1 && offset == last->offset + last->inner * last->inner_step)
      ++last->inner;
    else
      runs.push_back({rows, cols, offset});
  }
  for (const MatrixGrid& run : runs) {
    bool joined = false;
    for (MatrixGrid& grid : grids) {
      const bool alike = grid.inner == run.inner && grid.inner_step == run.inner_step;
      const index_t step = grid.outer == 1 ? run.offset - grid.offset : grid.outer_step;
      joined = alike && run.offset == grid.offset + grid.outer * step;
      if (joined) {
        grid.outer_step = step, ++grid.outer;
        break;
      }
    }
    if (!joined) grids.push_back(run);
  }
  return grids;
}

template <Floating T>
class Muon : public Optimizer<T> {
 public:
  Muon(nn::Module<T>& module, MuonOptions o)
      : Optimizer<T>(module, {o.lr, o.momentum, o.beta2, o.weight_decay}, o.groups), o_(o),
        m_(this->new_state()), v_(this->new_state()),
        scalars_(zeros<T>({scalar_count}, device())), clip_(zeros<double>({2}, device())) {
    std::map<std::pair<index_t, index_t>, std::vector<index_t>> matrices;
    for (const auto& e : this->arena().entries) {
      if (e.shape.rank() == 2 && o.takes_muon(e.name, e.role))
        matrices[{e.shape[0], e.shape[1]}].push_back(e.offset);
      else rest_[static_cast<int>(group_of(e.name, e.role, o.groups))].push_back(
               {e.offset, e.offset + e.numel});
    }
    for (const auto& [shape, offsets] : matrices)
      grids_.push_back(matrix_grids(shape.first, shape.second, offsets));
  }

  std::vector<NamedState<T>> state() override {
    return {{"momentum_buffer", m_}, {"exp_avg_sq", v_}};
  }
  /// How many matrices Muon takes.
  index_t matrices() const {
    index_t n = 0;
    for (const auto& grids : grids_)
      for (const MatrixGrid& grid : grids) n += grid.matrices();
    return n;
  }

 protected:
  void update() override {
    NoGrad scope;
    update_matrices();
    UpdateParams<T> p;
    p.rule = UpdateRule::adamw, p.eps = o_.eps;
    p.p = this->arena().values.mutable_data(), p.g = this->arena().gradients.data();
    p.m = m_.mutable_data(), p.v = v_.mutable_data();
    p.norm_squared = this->measured_norm();
    for (int g = 0; g < static_cast<int>(Group::count); ++g) {
      if (rest_[g].empty()) continue;
      p.ranges = rest_[g].data(), p.range_count = static_cast<int>(rest_[g].size());
      p.s = this->device_scalars(static_cast<Group>(g));
      backend<T>(device()).update(p);
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

  void stage_scalars() override {
    Optimizer<T>::stage_scalars();
    const double lr = this->hyper.lr, mu = this->hyper.beta1;
    T values[scalar_count];
    values[momentum] = static_cast<T>(mu), values[fresh] = static_cast<T>(1 - mu);
    values[keep] = static_cast<T>(1 - lr * this->hyper.weight_decay);
    values[scale] = static_cast<T>(this->grad_scale_);
    values[go] = 1;
    for (std::size_t i = 0; i < most_shapes && i < grids_.size(); ++i) {
      const MatrixGrid& g = grids_[i].front();
      const double ratio = static_cast<double>(g.rows) / static_cast<double>(g.cols);
      values[rate + i] = static_cast<T>(lr * std::sqrt(std::max(1.0, ratio)));
    }
    stage_bytes(scalars_.mutable_data(), device(), values, sizeof values);
    const double clip[] = {this->grad_scale_, this->hyper.clip};
    stage_bytes(clip_.mutable_data(), device(), clip, sizeof clip);
  }

 private:
  // What a step's formulas read from the device's memory; `rate` and after: one for each shape.
  enum : std::size_t { momentum, fresh, keep, scale, go, rate };
  static constexpr std::size_t most_shapes = 58;
  static constexpr index_t scalar_count = rate + most_shapes;

  Device device() { return this->arena().values.device(); }
  static Tensor<double> at(const Tensor<double>& list, index_t i) { return slice(list, 0, i, i + 1); }
  Tensor<T> scalar(std::size_t i) const {
    return slice(scalars_, 0, static_cast<index_t>(i), static_cast<index_t>(i) + 1);
  }

  void update_matrices() {
    check(grids_.size() <= most_shapes, "[Muon] matrices of {} shapes are more than {}",
          grids_.size(), most_shapes);
    // As UpdateParams says: what multiplies the gradient, and whether this step counts.
    Tensor<T> factor = scalar(scale), counts = scalar(go);
    if (this->measured_norm()) {
      const Tensor<double>& square = this->norm_squared();
      const Tensor<double> s = at(clip_, 0), limit = at(clip_, 1);
      const Tensor<double> norm = map(sqrt(_1) * abs(_2) + 1e-6, square, s);
      factor = map(where(_1 * (_3 > 0.0) > _3, _2 * (_3 / _1), _2), norm, s, limit)
                   .template to<T>();
      counts = map(_1 <= 1e308, square).template to<T>();
    }
    for (std::size_t i = 0; i < grids_.size(); ++i)
      update_shape(grids_[i], factor, counts, scalar(rate + i));
  }

  /// All matrices of one shape at once: they are one batch for the matrix products.
  void update_shape(const std::vector<MatrixGrid>& grids, const Tensor<T>& factor,
                    const Tensor<T>& counts, const Tensor<T>& step) {
    const index_t rows = grids.front().rows, cols = grids.front().cols;
    std::vector<Tensor<T>> updates;
    for (const MatrixGrid& grid : grids) {
      const Tensor<T> g = map(_1 * _2, grid.in(this->arena().gradients), factor);
      Tensor<T> m = grid.in(m_);
      m.copy_(map(where(_5 > 0.0, _1 * _3 + _2 * _4, _1), m, g, scalar(momentum), scalar(fresh),
                  counts));
      const Tensor<T> u = map(_1 * _3 + _2 * _4, g, m, scalar(fresh), scalar(momentum));
      updates.push_back(reshape(u, {grid.matrices(), rows, cols}));
    }
    const Tensor<T> x =
        newton_schulz(updates.size() == 1 ? updates[0] : concat(updates, 0), o_.ns_steps);
    index_t first = 0;
    for (const MatrixGrid& grid : grids) {
      const Tensor<T> mine = reshape(slice(x, 0, first, first + grid.matrices()),
                                     {grid.outer, grid.inner, rows, cols});
      Tensor<T> p = grid.in(this->arena().values);
      p.copy_(map(where(_5 > 0.0, _1 * _3 - _2 * _4, _1), p, mine, scalar(keep), step, counts));
      first += grid.matrices();
    }
  }

  MuonOptions o_;
  Tensor<T> m_, v_;
  Tensor<T> scalars_;
  Tensor<double> clip_;
  std::vector<std::vector<MatrixGrid>> grids_;  ///< for each shape
  std::vector<ArenaRange> rest_[static_cast<int>(Group::count)];
};

}  // namespace flr::optim
