#include <flr/flr.hpp>

#include "shared.hpp"

double loss_in_other_unit() {
  using namespace flr;
  const auto x = randn<double>({2, 3, 8, 4});
  const auto y = sdpa(x, x, map(tanh(_1) * _2, x, x));
  return sum(y).item();
}

const void* cpu_table_in_other_unit() { return &flr::cpu_backend<float>(); }

std::int64_t active_bytes_in_other_unit() { return flr::memory_stats().active; }
