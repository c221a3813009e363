// FLR_EXPLAIN for operations that have one kernel in each backend, which takes every call.
#pragma once

#include "flr/core/explain.hpp"
#include "flr/graph/record.hpp"

namespace flr::detail {

template <Floating T>
void explain_table(const char* name, const Tensor<T>& x) {
  explain([&] {
    return fmt::format("[{}] {} {}: {}", name, x.shape(), name_of(dtype_of<T>),
                       x.device().is_cpu() ? "loops of the CPU table" : "kernel of the CUDA table");
  });
}

}  // namespace flr::detail
