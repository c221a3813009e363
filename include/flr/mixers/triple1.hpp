// "triple1" (FLARE.py, lra/models): triple attention on deep projections, with all queries and keys
// as unit vectors. On heads it is triple_attention(); the reference's block has a plain MLP beside
// it.
#pragma once

#include "flr/mixers/triple.hpp"

namespace flr::mixers {

struct Triple1Options {
  index_t channels = 64, heads = 8;
  nn::NormKind norm = nn::NormKind::layer;  ///< of the merged heads
  double drop = 0;                          ///< behind out_proj
};

template <Floating T>
class Triple1 : public Triple<T> {
 public:
  explicit Triple1(const Triple1Options& o) : Triple<T>(as_triple(o)) {}

 private:
  static ProjectedOptions as_triple(const Triple1Options& o) {
    ProjectedOptions p;
    p.channels = o.channels, p.heads = o.heads, p.norm = o.norm, p.drop = o.drop;
    p.layers = 3;
    p.norm_q = p.norm_k = true;
    return p;
  }
};

}  // namespace flr::mixers
