// What lra does, by mode. Each returns the exit code.
#pragma once

#include "options.hpp"

namespace lra {

/// --train and --restart: 0, or 128 + signal where Ctrl-C came first.
int train(Options options);
/// --evaluate.
int evaluate(const Options& options);

}  // namespace lra
