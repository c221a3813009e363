// Token and position embeddings.
#pragma once

#include "flr/nn/init.hpp"

namespace flr::nn {

/// A table of `entries` rows of `width`, N(0, 1) at first as PyTorch's. The row `padding` starts at
/// zero and receives no gradient (−1: none).
template <Floating T>
class Embedding : public Module<T> {
 public:
  Embedding(index_t entries, index_t width, index_t padding = -1)
      : padding_(padding), weight(this->add_parameter("weight", {entries, width}, Role::embedding)) {
    normal(weight, 1);
    if (padding >= 0) clear_padding();
  }

  Tensor<T> operator()(const Tensor<index_t>& index) const { return rows<T>(index); }
  /// The same in the scalars of the activations.
  template <Floating A>
  Tensor<A> rows(const Tensor<index_t>& index) const {
    return embedding(index, this->template parameter_as<A>(weight), padding_);
  }

  /// Sets the padding row to zero again, after an initialiser went over it.
  void clear_padding() {
    if (padding_ < 0) return;
    NoGrad scope;
    Tensor<T> row = slice(weight.detach(), 0, padding_, padding_ + 1);
    row.fill_(0);
  }

 private:
  index_t padding_;

 public:
  Tensor<T> weight;
};

/// Fixed positions (Vaswani et al. 2017): [length, width], sin in even columns, cos in odd ones.
template <Floating T>
Tensor<T> sinusoid(index_t length, index_t width) {
  std::vector<T> values(static_cast<std::size_t>(length * width));
  for (index_t n = 0; n < length; ++n)
    for (index_t c = 0; c < width; ++c) {
      const double rate = std::pow(10000.0, -static_cast<double>(c / 2 * 2) / static_cast<double>(width));
      const double angle = static_cast<double>(n) * rate;
      values[static_cast<std::size_t>(n * width + c)] =
          static_cast<T>(static_cast<compute_t<T>>(c % 2 ? std::cos(angle) : std::sin(angle)));
    }
  return from_vector(values, {length, width});
}

}  // namespace flr::nn
