#include "machine.hpp"
#include "model_factory.hpp"
#include "problem.hpp"
#include "require_checkpoint.hpp"
#include "run.hpp"
#include "scores.hpp"
#include "summary.hpp"

namespace lra {

using namespace flr;
namespace fs = std::filesystem;

int evaluate(const Options& o) {
  program::set_up_machine(o);
  const fs::path checkpoint = program::require_checkpoint(o);
  const data::SequenceTask task = load_problem(o);
  check_same_data(o.folder(), task);
  const train::SequenceInputs how = inputs_of(o, task);
  const bool averaged = fs::exists(checkpoint / "ema.safetensors");
  check(o.weights == "raw" || averaged, "--weights ema: {} keeps no average", checkpoint.string());

  const auto raw = load_model(o, task, checkpoint, "raw");
  fmt::print("checkpoint {}\n", checkpoint.string());
  print_summary(o, task, *raw);
  const bool each = task.train.token_labels;
  RunScores scores;
  Scores shown = measure(*raw, task, how, o.evaluation_batch());
  add_scores(scores, "", shown, each);
  if (averaged) {
    const auto ema = load_model(o, task, checkpoint, "ema");
    const Scores of_average = measure(*ema, task, how, o.evaluation_batch());
    add_scores(scores, "ema_", of_average, each);
    if (o.weights == "ema") shown = of_average;
  }
  fmt::print("{}\n", describe(scores));
  write_scores(checkpoint, scores);
  write_scores(o.folder(), scores);
  write_confusion(o.folder(), shown.test);
  fmt::print("results in {}\n", o.folder().string());
  return 0;
}

}  // namespace lra
