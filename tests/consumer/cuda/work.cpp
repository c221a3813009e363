#include "work.hpp"

#include <flr/cuda/cuda.hpp>
#include <flr/flr.hpp>

#include <cmath>
#include <cstdio>
#include <cstring>

int work_on(const char* device) {
  using namespace flr;
  try {
    std::printf("CUDA backend %s\n", cuda::linked() ? "linked" : "not linked");
    const Device where = std::strcmp(device, "cuda") == 0 ? Device::cuda : Device::cpu;
    if (!where.is_cpu()) std::printf("%s\n", detail::require_cuda().describe().c_str());
    manual_seed(1);
    auto q = randn<float>({1, 2, 4, 8}, where).requires_grad(true);
    const auto k = randn<float>({2, 2, 50, 8}, where), v = randn<float>({2, 2, 50, 8}, where);
    const auto loss = mean(sdpa(k, q, sdpa(q, k, v, {.scale = 1}), {.scale = 1}));
    backward(loss);
    std::printf("loss %.6f on %s\n", loss.item(), device);
    return std::isfinite(loss.item()) ? 0 : 1;
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
