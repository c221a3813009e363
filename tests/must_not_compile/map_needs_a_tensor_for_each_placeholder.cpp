// expect: more placeholders than there are tensors
#include <flr/flr.hpp>

using namespace flr;

Tensor<float> f(const Tensor<float>& x, const Tensor<float>& y) {
#ifdef MISTAKE
  (void)y;
  return map(_1 * _2, x);
#else
  return map(_1 * _2, x, y);
#endif
}
