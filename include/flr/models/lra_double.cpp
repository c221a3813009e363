// The sequence models and their mixers that the compiled form holds, in double.
#include "flr/models/lra.hpp"
#include "flr/models/trm.hpp"

#ifdef FLR_COMPILED_MODELS
namespace flr::mixers {

template Tensor<double> FeatureMapLayer<double>::operator()(const Tensor<double>&) const;

}  // namespace flr::mixers

namespace flr::models {

template const std::vector<NamedMixer<double>>& lra_mixers<double>();
template const NamedMixer<double>& lra_mixer<double>(const std::string&);
template class Lra<double>;
template class Trm<double>;

}  // namespace flr::models
#endif
