#include "summary.hpp"

#include <fmt/core.h>

#include "machine.hpp"

namespace lra {

using namespace flr;

void print_summary(const Options& o, const data::SequenceTask& task,
                   const models::SequenceModel<float>& model) {
  const data::SequenceSet& set = task.train;
  fmt::print(
      "data       {}: {} train, {} dev, {}; {} tokens of {}{}, {} classes{}\n", task.name,
      set.samples(), task.dev.samples(),
      task.same_test ? "which is the test set too" : fmt::format("{} test", task.test.samples()),
      set.length(), set.vocabulary, set.paired() ? " in each of two documents" : "", set.classes,
      set.token_labels ? " for each token" : "");
  fmt::print(
      "model      {}{}: {} parameters; {} blocks of {} channels, {} heads{}; {}, {} positions, "
      "padding {}\n",
      o.trm ? "recursive " : "", o.model_type, model.num_parameters(), o.num_blocks, o.channel_dim,
      o.num_heads, o.model_type == "flare" ? fmt::format(", {} latents", o.num_latents) : "",
      set.token_labels ? "an answer for each token" : o.pool + " pooling", o.pos_embed,
      o.mask ? "hidden" : "seen");
  fmt::print("machine    {}\n", program::describe_machine(o));
}

}  // namespace lra
