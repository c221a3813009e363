// Finished Darcy sets as files.
#pragma once

#include "flr/data/array.hpp"
#include "flr/data/darcy_part.hpp"

namespace flr::data {

/// Writes samples [begin, end) of a finished part to a .mat or .npz file, chosen by the name's
/// ending: `coeff` and `sol` [samples, side, side] of float or double, as the published files have
/// them. An .npz also has `coords` [side], the points along each axis. The set is held in memory;
/// the file appears when it is complete.
void write_darcy(const std::filesystem::path& path, const DarcyPart& part, index_t begin,
                 index_t end, ElementType type = ElementType::f32);

/// Refuses a name that ends neither in .mat nor in .npz.
void check_darcy_path(const std::filesystem::path& path);

}  // namespace flr::data
