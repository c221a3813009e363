// Token mixers.
#pragma once

#include "flr/mixers/flare.hpp"
#include "flr/mixers/softmax.hpp"
