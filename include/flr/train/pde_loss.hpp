// The loss of the PDE experiments: relative L2 of the decoded field, and for Darcy of its
// derivatives too.
#pragma once

#include "flr/data/dataset.hpp"
#include "flr/data/tensor_io.hpp"
#include "flr/flr.hpp"

namespace flr::train {

/// v·std + mean per channel, as an operation.
template <Floating T>
class Decoder {
 public:
  explicit Decoder(const data::Normalizer& norm, Device device = Device::cpu)
      : identity_(norm.is_identity()) {
    if (identity_) return;
    std::vector<T> mean, std;
    for (double m : norm.mean) mean.push_back(static_cast<T>(m));
    for (double s : norm.std) std.push_back(static_cast<T>(s));
    mean_ = from_vector(mean).to(device);
    std_ = from_vector(std).to(device);
  }
  /// v [.., channels].
  Tensor<T> operator()(const Tensor<T>& v) const {
    return identity_ ? v : map(_1 * _2 + _3, v, std_, mean_);
  }

 private:
  bool identity_;
  Tensor<T> mean_, std_;
};

/// v [B,rows,cols] with a ring of zeros around it: [B,rows+2,cols+2].
template <Floating T>
Tensor<T> zero_ring(const Tensor<T>& v) {
  const Tensor<T> row = zeros<T>({v.size(0), 1, v.size(2)}, v.device());
  const Tensor<T> tall = concat<T>({row, v, row}, 1);
  const Tensor<T> column = zeros<T>({v.size(0), tall.size(1), 1}, v.device());
  return concat<T>({column, tall, column}, 2);
}

/// Central differences of v [B,rows,cols], which counts as zero outside: along the columns' axis
/// (`axis` 2) or the rows' (1).
template <Floating T>
Tensor<T> central_difference(const Tensor<T>& v, int axis, double step) {
  const Tensor<T> p = zero_ring(v);
  const index_t n = p.size(axis), m = p.size(3 - axis);
  const Tensor<T> inner = slice(p, 3 - axis, 1, m - 1);
  return map((_1 - _2) * (1 / (2 * step)), slice(inner, axis, 2, n), slice(inner, axis, 0, n - 2));
}

/// pred and target [B,N,c_out], both encoded → a scalar.
///
/// Darcy (as the reference): relative L2 of the whole field, plus 0.1 times the relative L2 of each of
/// its two derivatives, for which the prediction's boundary ring is set to zero. (In the first term it
/// is not, or nothing would train the values there.)
template <Floating T>
class PdeLoss {
 public:
  explicit PdeLoss(const data::Dataset& set, Device device = Device::cpu)
      : decode_(set.y_norm, device), derivative_(set.derivative_loss), step_(set.derivative_step),
        grid_(set.train.grid) {}

  Tensor<T> operator()(const Tensor<T>& pred_in, const Tensor<T>& target_in) const {
    const Tensor<T> pred = decode_(pred_in), target = decode_(target_in);
    if (!derivative_) return relative_l2(pred, target);
    const Shape field{pred.size(0), grid_[0], grid_[1]};
    const Tensor<T> p = clear_boundary(reshape(pred, field)), t = reshape(target, field);
    Tensor<T> loss = relative_l2(pred, target);
    for (int axis : {1, 2})
      loss = map(_1 + 0.1 * _2, loss,
                 relative_l2(central_difference(p, axis, step_), central_difference(t, axis, step_)));
    return loss;
  }

 private:
  static Tensor<T> clear_boundary(const Tensor<T>& v) {
    return zero_ring(slice(slice(v, 1, 1, v.size(1) - 1), 2, 1, v.size(2) - 1));
  }

  Decoder<T> decode_;
  bool derivative_;
  double step_;
  std::vector<index_t> grid_;
};

}  // namespace flr::train
