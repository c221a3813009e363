// Token mixers.
#pragma once

#include "flr/mixers/causal_flare.hpp"
#include "flr/mixers/causal_linear.hpp"
#include "flr/mixers/cosformer.hpp"
#include "flr/mixers/dropped_attention.hpp"
#include "flr/mixers/favor.hpp"
#include "flr/mixers/feature_map.hpp"
#include "flr/mixers/flare.hpp"
#include "flr/mixers/flare_plus_plus.hpp"
#include "flr/mixers/linear.hpp"
#include "flr/mixers/linear_no.hpp"
#include "flr/mixers/linformer.hpp"
#include "flr/mixers/luna.hpp"
#include "flr/mixers/performer.hpp"
#include "flr/mixers/softmax.hpp"
