#include "summary.hpp"

#include <fmt/core.h>

#include "machine.hpp"

namespace lra {

using namespace flr;

namespace {

/// What stands between tokens and tokens, of models that have it.
std::string tokens_between(const Options& o) {
  if (o.model_type.starts_with("flare")) return fmt::format(", {} latents", o.num_latents);
  if (o.model_type == "luna") return fmt::format(", {} packed tokens", o.num_latents);
  return "";
}

}  // namespace

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
      o.num_heads, tokens_between(o),
      set.token_labels ? "an answer for each token" : o.pool + " pooling", o.pos_embed,
      o.mask ? "hidden" : "seen");
  fmt::print("machine    {}\n", program::describe_machine(o));
}

}  // namespace lra
