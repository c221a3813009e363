// The models on points that the compiled form holds.
#include "flr/models/flare.hpp"
#include "flr/models/flare_ablations.hpp"
#include "flr/models/transformer.hpp"

#ifdef FLR_COMPILED_MODELS
namespace flr::models {

#define FLR_POINT_MODELS(T)                                \
  template class BlockModel<T, TransformerBlock<T>>;       \
  template class Transformer<T>;                           \
  template class BlockModel<T, FlareBlock<T>>;             \
  template class Flare<T>;                                 \
  template class BlockModel<T, FlareAblationsBlock<T>>;    \
  template class FlareAblations<T>;
FLR_POINT_MODELS(float)
FLR_POINT_MODELS(double)
#undef FLR_POINT_MODELS

}  // namespace flr::models
#endif
