// The sum that undoes a broadcast.
#pragma once

#include "flr/graph/backward.hpp"

namespace flr::detail {

/// dst (+)= src summed over the axes along which dst was broadcast.
template <Floating T>
void sum_to(const Tensor<T>& src, GradTarget<T>& dst) {
  ReduceParams<T> r;
  const Shape& to = dst.tensor().shape();
  const int lead = src.rank() - to.rank();
  for (int a = 0; a < src.rank(); ++a) {
    const bool reduced = a < lead || (to[a - lead] == 1 && src.size(a) != 1);
    (reduced ? r.reduced : r.kept).push_back(src.size(a));
    (reduced ? r.reduced_strides : r.kept_strides).push_back(src.strides()[a]);
  }
  r.x = src.data();
  r.y = dst.data();
  r.accumulate = dst.accumulate();
  backend<T>(src.device()).reduce(r);
}

}  // namespace flr::detail
