// FLARE's mixer and its gradient, in somebody else's project.
#include <flr/flr.hpp>
#include <flr/version.hpp>

#include <cmath>
#include <cstdio>

int main() {
  using namespace flr;
  manual_seed(1);
  auto q = randn<float>({1, 2, 4, 8}).requires_grad(true);
  const auto k = randn<float>({2, 2, 50, 8});
  const auto v = randn<float>({2, 2, 50, 8});
  const auto z = sdpa(q, k, v, {.scale = 1});
  const auto y = sdpa(k, q, z, {.scale = 1});
  auto loss = mean(y * y);
  backward(loss);
  std::printf("flr %s, loss %.6f\n", version, loss.item());
  return std::isfinite(loss.item()) ? 0 : 1;
}
