// pdebench: trains and evaluates attention models on solutions of partial differential equations.
//
//   pdebench --train true --dataset darcy --exp_name mine --epochs 100
//   pdebench --restart true --exp_name mine      goes on after Ctrl-C, or a kill, with the same
//   bits pdebench --evaluate true --exp_name mine pdebench --predict inputs.npz --exp_name mine
//
// The last line says where the results are: `results in out/pdebench/mine`.
#include <fmt/core.h>

#include <cstdio>
#include <new>

#include "patience.hpp"
#include "run.hpp"

int main(int argc, char** argv) {
  pdebench::choose_patience(argv);
  std::setvbuf(stdout, nullptr, _IOLBF, 0);  // in a log, lines stand in their order
  try {
    const auto options = pdebench::parse_options(argc, argv);
    if (!options) return 0;
    if (options->evaluate) return pdebench::evaluate(*options);
    if (!options->predict.empty()) return pdebench::predict(*options);
    return pdebench::train(*options);
  } catch (const std::bad_alloc&) {
    fmt::print(stderr,
               "pdebench: the memory does not suffice; a smaller batch or model needs less\n");
  } catch (const std::exception& error) {
    fmt::print(stderr, "pdebench: {}\n", error.what());
  }
  return 1;
}
