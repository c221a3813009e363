// lra: trains and evaluates models on the Long Range Arena and on small reasoning tasks.
//
//   lra --train true --task listops --model_type flare --preset paper --exp_name mine
//   lra --restart true --exp_name mine      goes on after Ctrl-C, or a kill, with the same bits
//   lra --evaluate true --exp_name mine
//
// The last line says where the results are: `results in out/lra/mine`.
#include "run.hpp"
#include "run_program.hpp"

int main(int argc, char** argv) {
  return program::run_program("lra", argv, [&] {
    const auto options = lra::parse_options(argc, argv);
    if (!options) return 0;
    return options->evaluate ? lra::evaluate(*options) : lra::train(*options);
  });
}
