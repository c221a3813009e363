// The models on points that the compiled form holds, in float.
#include "flr/models/flare.hpp"
#include "flr/models/flare_ablations.hpp"
#include "flr/models/transformer.hpp"

#ifdef FLR_COMPILED_MODELS
namespace flr::models {

template class BlockModel<float, TransformerBlock<float>>;
template class Transformer<float>;
template class BlockModel<float, FlareBlock<float>>;
template class Flare<float>;
template class BlockModel<float, FlareAblationsBlock<float>>;
template class FlareAblations<float>;

}  // namespace flr::models
#endif
