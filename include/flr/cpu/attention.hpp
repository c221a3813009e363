// Scaled dot-product attention on the CPU.
#pragma once

#include "flr/cpu/attention_backward.hpp"
#include "flr/cpu/attention_forward.hpp"
