// A network of 40 lines fits y = sin(3x) + x²/2 on [-2, 2] from 256 points.
//
// Run: build/cpu/bin/fit_function
// The last line it prints starts with: relative L2 on points in between: 0.0
#include <flr/flr.hpp>

#include <cmath>
#include <iostream>

using namespace flr;

class Network : public nn::Module<float> {
 public:
  Network() : first(1, 64), hidden(64, 64), last(64, 1) {
    add_child("first", first);
    add_child("hidden", hidden);
    add_child("last", last);
    for (auto& p : parameters())
      if (p.role == nn::Role::weight) nn::xavier_uniform(p.value);
  }
  Tensor<float> operator()(const Tensor<float>& x) const {
    auto h = map(tanh(_1), first(x));
    h = h + map(tanh(_1), hidden(h));
    return last(h);
  }
  nn::Linear<float> first, hidden, last;
};

Tensor<float> truth(const Tensor<float>& x) {
  return map(sin(_1 * 3.0) + 0.5 * _1 * _1, x);
}

int main() {
  manual_seed(0);
  const auto x = reshape(linspace<float>(-2, 2, 256), {256, 1}), y = truth(x);
  Network network;
  optim::AdamW<float> adamw(network, {.lr = 1e-2});
  const optim::OneCycle schedule({.max_lr = 1e-2, .total_steps = 1000});
  for (int step = 0; step < 1000; ++step) {
    adamw.hyper.lr = schedule.at(step).lr;
    adamw.zero_grad();
    auto loss = mse(network(x), y);
    backward(loss);
    adamw.step();
    if (step % 200 == 0) std::cout << "step " << step << ", loss " << loss.item() << "\n";
  }
  const auto between = reshape(linspace<float>(-1.99, 1.99, 200), {200, 1});
  const auto error =
      relative_l2(reshape(network(between), {1, 200}), reshape(truth(between), {1, 200}));
  std::cout << "relative L2 on points in between: " << error.item() << "\n";
}
