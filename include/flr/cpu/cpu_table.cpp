// One instruction set's CPU table in the compiled form. FLR_CPU_ISA names the instruction set that
// the flags select, FLR_TABLE_SCALAR one of f32, f64 and bf16 (without it: all three).
#include "flr/cpu/table.hpp"

#define FLR_JOIN3(isa, scalar) flr_cpu_table_##isa##_##scalar
#define FLR_ENTRY(isa, scalar) FLR_JOIN3(isa, scalar)
#define FLR_TYPE_f32 float
#define FLR_TYPE_f64 double
#define FLR_TYPE_bf16 flr::bf16
#define FLR_JOIN2(scalar) FLR_TYPE_##scalar
#define FLR_TYPE(scalar) FLR_JOIN2(scalar)

// The entry point is a plain pointer: no other symbol of an instruction set leaves its object.
#define FLR_DEFINE(scalar)                                  \
  extern "C" const void* FLR_ENTRY(FLR_CPU_ISA, scalar)();  \
  extern "C" const void* FLR_ENTRY(FLR_CPU_ISA, scalar)() { \
    return &flr::cpu::table<FLR_TYPE(scalar)>;              \
  }

#ifdef FLR_TABLE_SCALAR
FLR_DEFINE(FLR_TABLE_SCALAR)
#else
FLR_DEFINE(f32)
FLR_DEFINE(f64)
FLR_DEFINE(bf16)
#endif
