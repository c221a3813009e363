// expect: constraint
// expect: Tensor
#include <flr/flr.hpp>

#include <string>

#ifdef MISTAKE
flr::Tensor<std::string> x;
#else
flr::Tensor<float> x;
#endif
