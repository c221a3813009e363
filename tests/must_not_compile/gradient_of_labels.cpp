// expect: only tensors of float, double or bf16 can require a gradient
#include <flr/flr.hpp>

void f() {
#ifdef MISTAKE
  flr::Tensor<std::int64_t> labels = flr::zeros<std::int64_t>({3});
  labels.requires_grad(true);
#else
  flr::Tensor<float> x = flr::zeros<float>({3});
  x.requires_grad(true);
#endif
}
