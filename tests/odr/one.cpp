// Two units of one program, both with the header-only form, must share one library: the same CPU
// table, the same random stream, one memory pool.
#include <flr/flr.hpp>

#include <cstdio>

#include "shared.hpp"

int main() {
  using namespace flr;
  manual_seed(7);
  const auto x = randn<double>({2, 3, 8, 4});
  const auto y = sdpa(x, x, map(tanh(_1) * _2, x, x));
  const double here = sum(y).item();
  manual_seed(7);
  const double there = loss_in_other_unit();
  const auto held = zeros<float>({1000});
  if (here != there) {
    std::printf("the units compute %.17g and %.17g\n", here, there);
    return 1;
  }
  if (static_cast<const void*>(&cpu_backend<float>()) != cpu_table_in_other_unit()) {
    std::printf("each unit has a CPU table of its own\n");
    return 1;
  }
  if (memory_stats().active != active_bytes_in_other_unit()) {
    std::printf("each unit has a memory pool of its own\n");
    return 1;
  }
  return 0;
}
