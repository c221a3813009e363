// The transformer's feed-forward layer.
#pragma once

#include "flr/nn/linear.hpp"
#include "flr/ops/feed_forward.hpp"

namespace flr::nn {

/// fc2(dropout(act(fc1 x))): in → hidden → out.
template <Floating T>
class MLP : public Module<T> {
 public:
  MLP(index_t in, index_t hidden, index_t out, Activation act = Activation::gelu,
      double drop = 0)
      : fc1(in, hidden), fc2(hidden, out), act_(act), drop_(drop) {
    this->add_child("fc1", fc1);
    this->add_child("fc2", fc2);
  }

  template <Floating A>
  Tensor<A> operator()(const Tensor<A>& x) const {
    const auto run = [this](const Tensor<A>& t) {
      if (drop_ == 0 || !this->training())
        return feed_forward(t, fc1.template weight_as<A>(), fc1.template bias_as<A>(),
                            fc2.template weight_as<A>(), fc2.template bias_as<A>(), act_);
      return fc2(dropout(fc1(t, act_), drop_, this->training()));
    };
    return this->recomputes_mlps() ? recompute(run, x) : run(x);
  }

  Linear<T> fc1, fc2;

 private:
  Activation act_;
  double drop_;
};

}  // namespace flr::nn
