// The operations that the compiled form holds (instances.hpp).
#define FLR_INSTANTIATE_OPS
#include "flr/ops/instances.hpp"
