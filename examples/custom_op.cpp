// Operations of one's own: a formula through map, and a node with a hand-written gradient through
// record(). Both are checked against central differences and used in one loss.
//
// Run: build/cpu/bin/custom_op
// The last line it prints is: both gradients agree with central differences
#include <flr/core/parallel.hpp>
#include <flr/flr.hpp>

#include <iostream>

using namespace flr;

// A formula: the gradient is derived at compile time, and all of it is one loop.
template <class T>
Tensor<T> snake(const Tensor<T>& x, double a) {
  return map(_1 + square(sin(_1 * a)) / a, x);
}

// Running sums along the last axis: y_i = x_0 + ... + x_i, so dx_i = dy_i + ... + dy_(n-1).
template <class T>
Tensor<T> cumsum(const Tensor<T>& x_in) {
  check(x_in.rank() >= 1 && x_in.device().is_cpu(),
        "[cumsum] expected a vector or more on the CPU");
  const Tensor<T> x = contiguous(x_in);
  const index_t n = x.size(-1), rows = n > 0 ? x.numel() / n : 0;
  auto y = empty<T>(x.shape());
  const T* from = x.data();
  T* to = y.mutable_data();
  parallel_for(rows, [=](index_t r) {
    T sum = 0;
    for (index_t i = r * n; i < (r + 1) * n; ++i) to[i] = sum += from[i];
  });
  // This gradient needs nothing from the forward pass; what one does need goes through save().
  if (recording(x))
    record("cumsum", y, Inputs(x), [n, rows](Backward& b) {
      const Tensor<T> dy = b.grad<T>();
      auto dx = b.target<T>(0);  // memory of x's shape: to be written, or added to
      const bool add = dx.accumulate();
      const T* from = dy.data();
      T* to = dx.data();
      parallel_for(rows, [=](index_t r) {
        T sum = 0;
        for (index_t i = (r + 1) * n - 1; i >= r * n; --i) {
          sum += from[i];
          to[i] = add ? to[i] + sum : sum;
        }
      });
    });
  return y;
}

int main() {
  manual_seed(0);
  auto x = randn<float>({4, 1000}).requires_grad(true);
  auto loss = mean(square(cumsum(snake(x, 2))));
  backward(loss);
  std::cout << "loss " << loss.item() << ", gradient " << x.grad().shape().str() << "\n";

  const auto a = gradcheck([](const auto& x) { return snake(x[0], 2); }, {randn<double>({3, 5})});
  // x appears twice, so its gradient is also added to.
  const auto b =
      gradcheck([](const auto& x) { return cumsum(x[0]) * x[0]; }, {randn<double>({3, 5})});
  std::cout << "worst errors: snake " << a.worst << ", cumsum " << b.worst << "\n";
  if (!a || !b) return 1;
  std::cout << "both gradients agree with central differences\n";
}
