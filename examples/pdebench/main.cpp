// pdebench: trains and evaluates attention models on solutions of partial differential equations.
//
//   pdebench --train true --dataset darcy --exp_name mine --epochs 100
//   pdebench --restart true --exp_name mine      goes on after Ctrl-C, or a kill, with the same
//   bits pdebench --evaluate true --exp_name mine pdebench --predict inputs.npz --exp_name mine
//
// The last line says where the results are: `results in out/pdebench/mine`.
#include "run.hpp"
#include "run_program.hpp"

int main(int argc, char** argv) {
  return program::run_program("pdebench", argv, [&] {
    const auto options = pdebench::parse_options(argc, argv);
    if (!options) return 0;
    if (options->evaluate) return pdebench::evaluate(*options);
    if (!options->predict.empty()) return pdebench::predict(*options);
    return pdebench::train(*options);
  });
}
