// All of flr except files (flr/data.hpp) and training programs (flr/train.hpp).
#pragma once

#include "flr/models.hpp"
#include "flr/optim.hpp"
