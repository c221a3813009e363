// expect: sdpa
#include <flr/flr.hpp>

using namespace flr;

auto f(const Tensor<float>& q, const Tensor<std::int64_t>& ids) {
#ifdef MISTAKE
  return sdpa(q, q, ids);
#else
  (void)ids;
  return sdpa(q, q, q);
#endif
}
