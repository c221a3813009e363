// Scaled dot-product attention on the CPU.
#pragma once

#include "flr/cpu/sdpa_backward.hpp"
#include "flr/cpu/sdpa_forward.hpp"
