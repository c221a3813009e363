// Losses. All return a scalar tensor in the compute type.
#pragma once

#include "flr/ops/convert.hpp"
#include "flr/ops/gather.hpp"
#include "flr/ops/softmax.hpp"

namespace flr {

/// Mean cross-entropy of logits [.., classes] against int64 labels [..], over the labels that are
/// not `ignore`; 0 if there is none.
///   loss = mean(lse(z) − z_label), dz = (softmax(z) − onehot)/count.
template <Floating T>
Tensor<compute_t<T>> cross_entropy(const Tensor<T>& logits_in, const Tensor<index_t>& labels_in,
                                   index_t ignore = -100) {
  using C = compute_t<T>;
  Shape expected = logits_in.shape();
  check(logits_in.rank() >= 1, "[cross_entropy] expected logits [.., classes]");
  expected.erase(expected.rank() - 1);
  check(labels_in.shape() == expected, "[cross_entropy] logits {} take labels {}, got {}",
        logits_in.shape(), expected, labels_in.shape());
  const Tensor<T> z = contiguous(logits_in);
  const Tensor<index_t> labels = labels_in.is_contiguous() ? labels_in : labels_in.clone();
  const index_t classes = z.size(-1), rows = labels.numel();
  if (labels.device().is_cpu())
    for (index_t i = 0; i < rows; ++i) {
      const index_t label = labels.data()[i];
      check(label == ignore || (label >= 0 && label < classes),
            "[cross_entropy] label {} at row {} is outside [0, {})", label, i, classes);
    }
  auto loss = Tensor<C>::empty({}, z.device());
  auto lse = Tensor<C>::empty({rows}, z.device()), count = Tensor<C>::empty({1}, z.device());
  backend<T>(z.device()).cross_entropy({rows, classes, ignore, z.data(), labels.data(),
                                        loss.mutable_data(), lse.mutable_data(),
                                        count.mutable_data()});
  if (recording(z))
    record("cross_entropy", loss, Inputs(z),
           [=, z = save(z), lse = save(lse), count = save(count)](Backward& b) {
             const Tensor<C> dloss = b.grad<C>();
             auto dz = b.target<T>(0);
             backend<T>(dloss.device()).cross_entropy_backward(
                 {rows, classes, ignore, z.get("cross_entropy").data(), labels.data(),
                  lse.get("cross_entropy").data(), count.get("cross_entropy").data(), dloss.data(),
                  dz.data(), dz.mode()});
           });
  return loss;
}

/// Mean binary cross-entropy of logits against targets in [0, 1]:
///   loss = mean(max(z, 0) − z t + log(1 + e^{−|z|})).
template <Floating T>
Tensor<T> bce_with_logits(const Tensor<T>& logits, const Tensor<T>& target) {
  check(logits.shape() == target.shape(), "[bce_with_logits] logits {} and target {} differ",
        logits.shape(), target.shape());
  return mean(map(softplus(_1) - _1 * _2, logits, target));
}

/// Mean of (pred − target)².
template <Floating T>
Tensor<T> mse(const Tensor<T>& pred, const Tensor<T>& target) {
  check(pred.shape() == target.shape(), "[mse] prediction {} and target {} differ", pred.shape(),
        target.shape());
  return mean(map(square(_1 - _2), pred, target));
}

namespace detail {

template <Floating T>
Tensor<compute_t<T>> relative_loss(const char* name, const Tensor<T>& pred_in,
                                   const Tensor<T>& target_in, int p) {
  using C = compute_t<T>;
  check(pred_in.shape() == target_in.shape() && pred_in.rank() >= 1,
        "[{}] expected prediction and target of one shape [samples, ..]; got {} and {}", name,
        pred_in.shape(), target_in.shape());
  const Tensor<T> pred = contiguous(pred_in), target = contiguous(target_in);
  const index_t samples = pred.size(0);
  check(samples > 0, "[{}] there are no samples in shape {}", name, pred.shape());
  const index_t len = pred.numel() / samples;
  auto loss = Tensor<C>::empty({}, pred.device());
  auto norms = Tensor<C>::empty({samples, 2}, pred.device());
  backend<T>(pred.device()).relative_loss(
      {samples, len, p, pred.data(), target.data(), loss.mutable_data(), norms.mutable_data()});
  if (recording(pred, target))
    record(name, loss, Inputs(pred, target),
           [=, pred = save(pred), target = save(target), norms = save(norms)](Backward& b) {
             const Tensor<C> dloss = b.grad<C>();
             auto dp = b.target<T>(0), dt = b.target<T>(1);
             backend<T>(dloss.device()).relative_loss_backward(
                 {samples, len, p, pred.get(name).data(), target.get(name).data(),
                  norms.get(name).data(), dloss.data(), dp.data(), dt.data(), dp.mode(), dt.mode()});
           });
  return loss;
}

}  // namespace detail

/// Mean over samples of ‖pred − target‖₂/‖target‖₂; the first axis counts samples.
template <Floating T>
Tensor<compute_t<T>> relative_l2(const Tensor<T>& pred, const Tensor<T>& target) {
  return detail::relative_loss("relative_l2", pred, target, 2);
}

/// Mean over samples of ‖pred − target‖₁/‖target‖₁.
template <Floating T>
Tensor<compute_t<T>> relative_l1(const Tensor<T>& pred, const Tensor<T>& target) {
  return detail::relative_loss("relative_l1", pred, target, 1);
}

/// The definitions in simple operations. `kept` [rows] holds 1 for labels that count and 0 for the
/// others, whose label must be a class all the same.
template <Floating T>
Tensor<T> cross_entropy_composition(const Tensor<T>& logits, const Tensor<index_t>& labels,
                                    const Tensor<T>& kept) {
  const Tensor<T> picked =
      gather(log_softmax_composition(logits), 1, labels.reshape({labels.numel(), 1}));
  return -sum(squeeze(picked, 1) * kept) / sum(kept);
}
template <Floating T>
Tensor<T> relative_l2_composition(const Tensor<T>& pred, const Tensor<T>& target) {
  const Shape rows{pred.size(0), pred.numel() / pred.size(0)};
  const auto norm = [&](const Tensor<T>& x) { return sqrt(sum(square(reshape(x, rows)), {1})); };
  return mean(norm(pred - target) / norm(target));
}
template <Floating T>
Tensor<T> relative_l1_composition(const Tensor<T>& pred, const Tensor<T>& target) {
  const Shape rows{pred.size(0), pred.numel() / pred.size(0)};
  const auto norm = [&](const Tensor<T>& x) { return sum(abs(reshape(x, rows)), {1}); };
  return mean(norm(pred - target) / norm(target));
}

}  // namespace flr
