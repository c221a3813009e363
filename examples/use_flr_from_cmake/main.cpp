// A program outside flr's tree; CMakeLists.txt beside it says how to build it.
// The last line it prints starts with: the gradient of the latents has shape [1,2,4,8]
#include <flr/flr.hpp>

#include <iostream>

int main() {
  using namespace flr;
  manual_seed(0);
  auto latents = randn<float>({1, 2, 4, 8}).requires_grad(true);
  const auto k = randn<float>({1, 2, 100, 8}), v = randn<float>({1, 2, 100, 8});

  const auto z = sdpa(latents, k, v, {.scale = 1});  // gather: 100 tokens into 4 latents
  const auto y = sdpa(k, latents, z, {.scale = 1});  // scatter: back to 100 tokens
  auto loss = mean(y * y);
  backward(loss);

  std::cout << "loss " << loss.item() << "\n";
  std::cout << "the gradient of the latents has shape " << latents.grad().shape().str() << "\n";
}
