// How attention is cut into tasks. The cut depends on the problem alone, so results do not depend on
// the number of threads.
#pragma once

#include "flr/cpu/sdpa_tile.hpp"

FLR_CPU_BEGIN
namespace sdpa_cpu {

/// Enough tasks for many threads to share evenly.
inline constexpr index_t wanted_tasks = 64;

/// Equal ranges of n, each a multiple of `unit` (but the last).
struct Split {
  index_t n, length, parts;
  Split(index_t n_, index_t wanted, index_t unit) : n(n_) {
    if (wanted < 1) wanted = 1;
    length = (n + wanted - 1) / wanted;
    length = (length + unit - 1) / unit * unit;
    if (length < unit) length = unit;
    parts = n > 0 ? (n + length - 1) / length : 1;
  }
  index_t begin(index_t part) const { return part * length; }
  index_t end(index_t part) const { return (part + 1) * length < n ? (part + 1) * length : n; }
};

}  // namespace sdpa_cpu
FLR_CPU_END
