// Tensors and what they are made of.
#pragma once

#include "flr/core/create.hpp"
#include "flr/core/parallel.hpp"
#include "flr/core/print.hpp"
#include "flr/core/runtime.hpp"
#ifndef FLR_COMPILED
#include "flr/cpu/table.hpp"
#endif
