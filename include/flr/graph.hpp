// The recorded graph.
#pragma once

#include "flr/graph/backward.hpp"
#include "flr/graph/dot.hpp"
#include "flr/graph/gradcheck.hpp"
#include "flr/graph/recompute.hpp"
#include "flr/graph/step.hpp"
