// expect: bf16
#include <flr/flr.hpp>

using namespace flr;

#ifdef MISTAKE
nn::Linear<bf16> layer(4, 4);
#else
nn::Linear<float> layer(4, 4);
#endif
