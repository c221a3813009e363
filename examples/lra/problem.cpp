#include "problem.hpp"

#include <fmt/ranges.h>

#include <numeric>

#include "flr/data/lra.hpp"
#include "flr/train/run_config.hpp"

namespace lra {

using namespace flr;

namespace {

/// Where a task's files lie: data_root itself, or the folders in it that the reference and make_lra
/// have, with one for the task or without.
std::filesystem::path folder_of(const Options& o) {
  const std::filesystem::path root = o.data_root;
  for (const char* set : {"LongRangeArena", "lra", "."})
    for (const std::string& task : {o.task, std::string(".")})
      if (const auto folder = (root / set / task).lexically_normal();
          (set != std::string(".") || task != ".") && std::filesystem::is_directory(folder))
        return folder;
  return root;
}

void keep_first(data::SequenceSet& set, std::int64_t samples) {
  if (samples == 0 || samples >= set.samples()) return;
  std::vector<index_t> list(static_cast<std::size_t>(samples));
  std::iota(list.begin(), list.end(), index_t{0});
  set = set.select(list);
}

}  // namespace

data::SequenceTask load_problem(const Options& o) {
  if (o.task == "toy" || o.task == "toy_pairs" || o.task == "toy_tokens") return toy_task(o);
  const std::vector<std::string> names = data::lra_tasks();
  check(std::find(names.begin(), names.end(), o.task) != names.end(),
        "--task: expected one of {}, toy, toy_pairs, toy_tokens; got '{}'", fmt::join(names, ", "),
        o.task);
  data::SequenceTask task = data::load_lra(
      o.task, folder_of(o), {.length = o.max_length, .pad_multiple = o.pad_multiple});
  keep_first(task.train, o.train_samples);
  keep_first(task.dev, o.dev_samples);
  if (!task.same_test) keep_first(task.test, o.test_samples);
  return task;
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
    add(set.lengths[static_cast<std::size_t>(s)]);
    if (set.paired()) {
      std::vector<std::int64_t> second(static_cast<std::size_t>(set.second.extent(1)));
      set.copy_second(s, second.data());
      for (std::int64_t token : second) add(token);
    }
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
