// FLARE's mixer written down as it reads, run forward and backward, and its gradients checked.
//
// Run: build/cpu/bin/quickstart
// The last line it prints starts with: gradcheck: ok
#include <flr/flr.hpp>

#include <iostream>

using namespace flr;

template <class T>
Tensor<T> mixer(const Tensor<T>& q, const Tensor<T>& k, const Tensor<T>& v) {
  auto z = sdpa(q, k, v, {.scale = 1});  // gather: N tokens into M latents
  return sdpa(k, q, z, {.scale = 1});    // scatter: M latents back to N tokens
}

int main() {
  manual_seed(0);
  // Batch 2, 4 heads of 8 channels, 1000 tokens, 16 latents that the batch shares.
  auto latents = randn<float>({1, 4, 16, 8}).requires_grad(true);
  auto keys = randn<float>({2, 4, 1000, 8}).requires_grad(true);
  auto values = randn<float>({2, 4, 1000, 8}).requires_grad(true);

  auto y = mixer(latents, keys, values);
  auto loss = mean(y * y);
  backward(loss);
  std::cout << "y " << y.shape().str() << ", loss " << loss.item() << "\n"
            << "gradient of the latents " << latents.grad().shape().str() << "\n";

  // The same function in double, each gradient against central differences.
  const auto check = gradcheck(
      [](const auto& x) { return mixer(x[0], x[1], x[2]); },
      {randn<double>({1, 2, 3, 4}), randn<double>({2, 2, 5, 4}), randn<double>({2, 2, 5, 4})});
  std::cout << "gradcheck: " << (check.ok ? "ok" : "FAILED") << ", worst error " << check.worst
            << "\n";
  return check.ok ? 0 : 1;
}
