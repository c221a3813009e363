// Layers.
#pragma once

#include "flr/nn/embedding.hpp"
#include "flr/nn/heads.hpp"
#include "flr/nn/init.hpp"
#include "flr/nn/keep.hpp"
#include "flr/nn/linear.hpp"
#include "flr/nn/mlp.hpp"
#include "flr/nn/module.hpp"
#include "flr/nn/norm.hpp"
#include "flr/nn/residual_mlp.hpp"
#include "flr/nn/residual_stream.hpp"
#include "flr/nn/rotary.hpp"
