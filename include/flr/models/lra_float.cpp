// The sequence models and their mixers that the compiled form holds, in float.
#include "flr/models/lra.hpp"
#include "flr/models/trm.hpp"

#ifdef FLR_COMPILED_MODELS
namespace flr::mixers {

template Tensor<float> FeatureMapLayer<float>::operator()(const Tensor<float>&) const;
template Tensor<bf16> FeatureMapLayer<float>::operator()(const Tensor<bf16>&) const;

}  // namespace flr::mixers

namespace flr::models {

template const std::vector<NamedMixer<float>>& lra_mixers<float>();
template const NamedMixer<float>& lra_mixer<float>(const std::string&);
template class Lra<float>;
template class Trm<float>;

}  // namespace flr::models
#endif
