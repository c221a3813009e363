// Optimisers, schedules, clipping and averaging.
#pragma once

#include "flr/optim/adamw.hpp"
#include "flr/optim/clip.hpp"
#include "flr/optim/ema.hpp"
#include "flr/optim/lion.hpp"
#include "flr/optim/muon.hpp"
#include "flr/optim/schedule.hpp"
#include "flr/optim/sgd.hpp"
