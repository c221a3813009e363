#include "problem.hpp"

#include "flr/core/error.hpp"
#include "flr/train/run_config.hpp"

namespace lra {

using namespace flr;

data::SequenceTask load_problem(const Options& o) {
  if (o.task == "toy" || o.task == "toy_pairs" || o.task == "toy_tokens") return toy_task(o);
  fail("--task: there is no loader for '{}' in this version", o.task);
}

train::SequenceInputs inputs_of(const Options& o, const data::SequenceTask& task) {
  return {.mask = o.mask, .binary = task.train.classes == 2};
}

namespace {

/// FNV-1a over what a set is made of; of a large set, its first samples.
std::int64_t fingerprint(const data::SequenceSet& set) {
  std::uint64_t hash = 14695981039346656037u;
  const auto add = [&](std::int64_t value) {
    hash = (hash ^ static_cast<std::uint64_t>(value)) * 1099511628211u;
  };
  for (index_t n : {set.samples(), set.length(), set.classes, set.vocabulary}) add(n);
  std::vector<std::int64_t> row(static_cast<std::size_t>(set.length()));
  for (index_t s = 0; s < std::min<index_t>(set.samples(), 2000); ++s) {
    set.copy_tokens(s, row.data());
    for (std::int64_t token : row) add(token);
    set.copy_labels(s, row.data());
    for (index_t i = 0; i < (set.token_labels ? set.length() : 1); ++i)
      add(row[static_cast<std::size_t>(i)]);
  }
  return static_cast<std::int64_t>(hash >> 1);
}

constexpr const char* file_name = "data.yaml";

}  // namespace

void save_fingerprint(const std::filesystem::path& folder, const data::SequenceTask& task) {
  train::RunConfig config;
  config.set("task", train::ConfigValue(task.name));
  config.set("train_samples", train::ConfigValue(task.train.samples()));
  config.set("fingerprint", train::ConfigValue(fingerprint(task.train)));
  config.save(folder / file_name);
}

void check_same_data(const std::filesystem::path& folder, const data::SequenceTask& task) {
  const auto config = train::RunConfig::load(folder / file_name);
  check(config.get<std::int64_t>("fingerprint") == fingerprint(task.train),
        "the training set {} is not the one that {} began with: its sequences differ", task.name,
        folder.string());
}

}  // namespace lra
