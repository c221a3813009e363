// What runs between the blocks of a pre-norm network.
#pragma once

#include "flr/nn/norm.hpp"

namespace flr::nn {

/// x, and what is still to be added to it: the next norm does it in its own pass (Norm::of_sum).
template <Floating A>
struct ResidualStream {
  Tensor<A> x, pending;

  /// x + pending + rows, of which the last two may be undefined.
  Tensor<A> sum(const Tensor<A>& rows = {}) const {
    const Tensor<A> y = pending.defined() ? x + pending : x;
    return rows.defined() ? y + rows : y;
  }
};

}  // namespace flr::nn
