// FAVOR+ features of tokens in float and bf16, for heads of at most favor::most_width channels and
// favor::most_features features.
#pragma once

#include <string>

#include "common/stream.hpp"

namespace flr::cuda {

template <class T>
bool favor_fits(const FavorParams<T>&, std::string* why);
template <class T>
void favor_passes(const FavorParams<T>&);
template <class T>
void favor_backward_passes(const FavorBackwardParams<T>&);

}  // namespace flr::cuda
