// Files, data sets and loaders. Link flr::data.
#pragma once

#include "flr/data/array.hpp"
#include "flr/data/csv.hpp"
#include "flr/data/dataset.hpp"
#include "flr/data/loader.hpp"
#include "flr/data/mat5.hpp"
#include "flr/data/npy.hpp"
#include "flr/data/npz.hpp"
#include "flr/data/point_set.hpp"
#include "flr/data/safetensors.hpp"
#include "flr/data/tensor_io.hpp"
