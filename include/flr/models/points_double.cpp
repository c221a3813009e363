// The models on points that the compiled form holds, in double.
#include "flr/models/flare.hpp"
#include "flr/models/flare_ablations.hpp"
#include "flr/models/transformer.hpp"

#ifdef FLR_COMPILED_MODELS
namespace flr::models {

template class BlockModel<double, TransformerBlock<double>>;
template class Transformer<double>;
template class BlockModel<double, FlareBlock<double>>;
template class Flare<double>;
template class BlockModel<double, FlareAblationsBlock<double>>;
template class FlareAblations<double>;

}  // namespace flr::models
#endif
