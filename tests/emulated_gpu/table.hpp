// In place of kernels/table.hpp: the kernels under test are called by their own names.
#pragma once

#include "common/stream.hpp"
