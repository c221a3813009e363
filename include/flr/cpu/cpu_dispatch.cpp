// The compiled form's choice of instruction set, made once when the CPU is first used, and its
// threads and scratch memory. Built for the baseline; the tables it chooses from are the objects of
// cpu_table.cpp.
#define FLR_BUILDING  // the functions that the compiled form has once

#include <cstdlib>
#include <string_view>

#include "flr/core/backend.hpp"
#include "flr/core/parallel.hpp"
#include "flr/core/scratch.hpp"

#define FLR_DECLARE(isa)                              \
  extern "C" const void* flr_cpu_table_##isa##_f32(); \
  extern "C" const void* flr_cpu_table_##isa##_f64(); \
  extern "C" const void* flr_cpu_table_##isa##_bf16();

namespace {

struct InstructionSet {
  std::string_view name;
  bool (*supported)();
  const void* (*f32)();
  const void* (*f64)();
  const void* (*bf16)();
};

}  // namespace

#define FLR_ENTRIES(isa) \
  flr_cpu_table_##isa##_f32, flr_cpu_table_##isa##_f64, flr_cpu_table_##isa##_bf16

#ifdef FLR_HAS_CPU_v2
FLR_DECLARE(v2)
#endif
#ifdef FLR_HAS_CPU_v3
FLR_DECLARE(v3)
#endif
#ifdef FLR_HAS_CPU_v4
FLR_DECLARE(v4)
#endif
#ifdef FLR_HAS_CPU_base
FLR_DECLARE(base)
#endif

namespace {

// In the order of preference. Measured on a Xeon: the training step takes 115 ms with v4, 152 ms with
// v3 (two threads); only Eigen's large products are faster with v3.
constexpr InstructionSet sets[] = {
#ifdef FLR_HAS_CPU_v4
    {"v4", [] { return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                       __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                       __builtin_cpu_supports("avx512vl"); },
     FLR_ENTRIES(v4)},
#endif
#ifdef FLR_HAS_CPU_v3
    {"v3", [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                       __builtin_cpu_supports("bmi2"); },
     FLR_ENTRIES(v3)},
#endif
#ifdef FLR_HAS_CPU_v2
    {"v2", [] { return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt"); },
     FLR_ENTRIES(v2)},
#endif
#ifdef FLR_HAS_CPU_base
    {"base", [] { return true; }, FLR_ENTRIES(base)},
#endif
};

const InstructionSet& choose() {
  const char* wanted = std::getenv("FLR_CPU_ISA");
  std::string known;
  for (const InstructionSet& set : sets) {
    known += (known.empty() ? "" : ", ") + std::string(set.name);
    if (wanted && *wanted && set.name != wanted) continue;
    if (set.supported()) return set;
    if (wanted && *wanted)
      flr::fail("[cpu] FLR_CPU_ISA={} needs instructions that this processor does not have", wanted);
  }
  if (wanted && *wanted)
    flr::fail("[cpu] expected FLR_CPU_ISA to be one of {}; got {}", known, wanted);
  flr::fail("[cpu] this processor supports none of the instruction sets that flr was built for: {}",
            known);
}

const InstructionSet& chosen() {
  static const InstructionSet& set = choose();
  return set;
}

}  // namespace

namespace flr {

template <>
const Backend<float>& cpu_backend<float>() {
  static const auto& table = *static_cast<const Backend<float>*>(chosen().f32());
  return table;
}
template <>
const Backend<double>& cpu_backend<double>() {
  static const auto& table = *static_cast<const Backend<double>*>(chosen().f64());
  return table;
}
template <>
const Backend<bf16>& cpu_backend<bf16>() {
  static const auto& table = *static_cast<const Backend<bf16>*>(chosen().bf16());
  return table;
}

}  // namespace flr
