// Makes the samples of a Darcy set on several threads.
#pragma once

#include <functional>

#include "flr/data/darcy_part.hpp"
#include "flr/data/darcy_solver.hpp"

namespace flr::data {

/// One sample after another; holds the factorisation's order and memory. One object serves one
/// thread, and any object gives the same bits for a sample.
class DarcySampler {
 public:
  explicit DarcySampler(const DarcySet& set);
  DarcySample operator()(index_t sample);

 private:
  DarcySet set_;
  DarcyField field_;
  DarcyCells solver_;
};

/// Makes what `part` lacks on `threads` threads; what one thread cannot do (a full disk) ends all.
/// `progress` is told how many samples there are, from one thread at a time; when it returns false,
/// the samples in work are finished and no new ones begun.
void generate_darcy(DarcyPart& part, int threads, const std::function<bool(index_t)>& progress);

}  // namespace flr::data
