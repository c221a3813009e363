// Whole models.
#pragma once

#include "flr/models/flare.hpp"
#include "flr/models/flare_ablations.hpp"
#include "flr/models/lra.hpp"
#include "flr/models/luna.hpp"
#include "flr/models/mixer_transformer.hpp"
#include "flr/models/spectrum.hpp"
#include "flr/models/transformer.hpp"
#include "flr/models/trm.hpp"
