// What the two units of this program have in common.
#pragma once

#include <cstdint>

/// A seeded computation through map, matmul and attention, in the unit that defines it.
double loss_in_other_unit();
const void* cpu_table_in_other_unit();
std::int64_t active_bytes_in_other_unit();
