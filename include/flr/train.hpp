// What training programs are made of. Link flr::train.
#pragma once

#include "flr/train/checkpoint.hpp"
#include "flr/train/evaluate.hpp"
#include "flr/train/pde_loss.hpp"
#include "flr/train/trainer.hpp"
#include "flr/train/weights.hpp"
