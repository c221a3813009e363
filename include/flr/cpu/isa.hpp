// Namespaces of the CPU backend. Every function below include/flr/cpu lies in
// flr::cpu::<FLR_CPU_ISA>: the compiled form holds the same code for several instruction sets in one
// program, and two versions must never share a symbol.
#pragma once

#include "flr/core/params.hpp"
#include "flr/core/parallel.hpp"
#include "flr/core/scratch.hpp"

#ifndef FLR_CPU_ISA
#define FLR_CPU_ISA user
#endif

#define FLR_CPU_BEGIN namespace flr::cpu { inline namespace FLR_CPU_ISA {
#define FLR_CPU_END }}

#define FLR_ALWAYS_INLINE inline __attribute__((always_inline))
