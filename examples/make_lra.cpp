// make_lra TASK: the Long Range Arena and reasoning tasks that are generated, as files for lra.
//
//   make_lra listops --out data/lra                           96,000 + 2,000 + 2,000 expressions
//   make_lra pathfinder32 --out data/lra                      200,000 images
//   make_lra sudoku --puzzles sudoku.csv --out data/lra
//
// The last line says what was made: `wrote data/lra: listops, 96000 + 2000 + 2000 samples of length
// 2000`. Samples depend on the seed and on their number alone, never on the threads.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <optional>

#include "flr/core/parallel.hpp"
#include "flr/data/listops.hpp"
#include "flr/data/lra.hpp"
#include "flr/data/pathfinder.hpp"
#include "flr/data/reasoning.hpp"
#include "flr/data/sudoku.hpp"

namespace {

using namespace flr;
using namespace flr::data;

struct Options {
  std::string task;
  std::filesystem::path out = ".", puzzles;
  index_t samples = 0, train = 0, dev = 0, test = 0;
  index_t train_puzzles = 1, augmentations = 1000;
  std::optional<std::uint64_t> seed;
  std::optional<index_t> distractors;
  std::optional<double> snake_contrast, paddle_contrast;
  bool calibrated = false, legacy = false;
  int threads = 0;
};

/// Empty where help was asked for.
std::optional<Options> parse(int argc, char** argv) {
  Options o;
  CLI::App app{"Makes the Long Range Arena and reasoning tasks that have a generator."};
  app.add_option("task", o.task,
                 "listops, pathfinder32, pathfinder128, mta, function_composition, "
                 "binary_relation, quotient_relation, match3 or sudoku")
      ->required();
  app.add_option("--out", o.out, "Folder to write to")->capture_default_str();
  app.add_option("--samples", o.samples,
                 "Samples in all (pathfinder: 200000, split 80:10:10; compositional tasks: 50000, "
                 "split 90:10)");
  app.add_option("--train", o.train, "Training samples (listops: 96000, mta: 1000000)");
  app.add_option("--dev", o.dev, "Dev samples (listops: 2000, mta: 1000)");
  app.add_option("--test", o.test,
                 "Test samples (listops: 2000), or test puzzles (sudoku: all others)");
  app.add_option("--seed", o.seed, "Seed; the published ones unless given");
  app.add_flag("--legacy", o.legacy,
               "quotient_relation and match3 as published: no colours in the input; copies of one "
               "draw in both splits");
  app.add_flag(
      "--calibrated", o.calibrated,
      "pathfinder128: distractors and contrast as real images have them, not as documented");
  app.add_option("--distractors", o.distractors,
                 "pathfinder: short curves to try in an image; not all of them find room");
  app.add_option("--snake_contrast", o.snake_contrast, "pathfinder: contrast of all curves");
  app.add_option("--paddle_contrast", o.paddle_contrast, "pathfinder: times this for long curves");
  app.add_option("--puzzles", o.puzzles, "sudoku: csv file with the columns question and answer");
  app.add_option("--train_puzzles", o.train_puzzles, "sudoku: puzzles to train on")
      ->capture_default_str();
  app.add_option("--augmentations", o.augmentations, "sudoku: variants of each")
      ->capture_default_str();
  app.add_option("--threads", o.threads, "Threads; the samples do not depend on it");
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& help) {
    app.exit(help);
    return {};
  } catch (const CLI::ParseError& error) {
    fail("{} (--help lists the options)", error.what());
  }
  for (index_t n : {o.samples, o.train, o.dev, o.test})
    check(n >= 0, "the number of samples must not be negative");
  const bool listops = o.task == "listops", mta = o.task == "mta", sudoku = o.task == "sudoku";
  const bool pathfinder = o.task.starts_with("pathfinder");
  const auto only = [&](const char* tasks, bool applies, std::initializer_list<const char*> flags) {
    for (const char* flag : flags)
      check(applies || app.count(flag) == 0, "{} is for {}, not for {}", flag, tasks, o.task);
  };
  only("pathfinder and the compositional tasks", !listops && !mta && !sudoku, {"--samples"});
  only("listops and mta", listops || mta, {"--train", "--dev"});
  only("listops and sudoku", listops || sudoku, {"--test"});
  only("pathfinder128", o.task == "pathfinder128", {"--calibrated"});
  only("pathfinder", pathfinder, {"--distractors", "--snake_contrast", "--paddle_contrast"});
  only("sudoku", sudoku, {"--puzzles", "--train_puzzles", "--augmentations"});
  only("quotient_relation and match3", o.task == "quotient_relation" || o.task == "match3",
       {"--legacy"});
  return o;
}

void set_if(index_t& value, index_t given) {
  if (given > 0) value = given;
}

struct Written {
  index_t train, dev, test, length;
};

void write_split(const Options& o, const char* split, const SequenceSet& set) {
  write_sequences(o.out / fmt::format("lra-{}.{}.npz", o.task, split), set);
}

Written make_listops(const Options& o) {
  ListopsRecipe recipe;
  set_if(recipe.train, o.train), set_if(recipe.dev, o.dev), set_if(recipe.test, o.test);
  recipe.seed = o.seed.value_or(0);
  const index_t total = recipe.train + recipe.dev + recipe.test;
  const auto made = generate_listops(recipe, total);
  const auto write = [&](const char* name, index_t begin, index_t count) {
    write_listops(o.out / name, {made.kept.begin() + begin, made.kept.begin() + begin + count});
  };
  write("basic_train.tsv", 0, recipe.train);
  write("basic_val.tsv", recipe.train, recipe.dev);
  write("basic_test.tsv", recipe.train + recipe.dev, recipe.test);
  return {recipe.train, recipe.dev, recipe.test, listops::length};
}

Written make_pathfinder(const Options& o, index_t side) {
  PathfinderRecipe recipe = pathfinder_recipe(side, o.calibrated);
  recipe.seed = o.seed.value_or(0);
  if (o.distractors) recipe.distractors = *o.distractors;
  if (o.snake_contrast) recipe.snake_contrast = *o.snake_contrast;
  if (o.paddle_contrast) recipe.paddle_contrast = *o.paddle_contrast;
  const index_t samples = o.samples ? o.samples : 200'000, tenth = samples / 10;
  check(tenth >= 1, "expected at least 10 samples; got {}", samples);
  fmt::print("{} distractors tried, snake contrast {}, paddle contrast {}\n", recipe.distractors,
             recipe.snake_contrast, recipe.paddle_contrast);
  // A split at a time: a whole set of 128 x 128 pixels takes 3 GB.
  const index_t train = samples - 2 * tenth;
  write_split(o, "train", generate_pathfinder(recipe, 0, train));
  write_split(o, "dev", generate_pathfinder(recipe, static_cast<std::uint64_t>(train), tenth));
  write_split(o, "test",
              generate_pathfinder(recipe, static_cast<std::uint64_t>(train + tenth), tenth));
  return {train, tenth, tenth, side * side};
}

SequenceTask make_reasoning(const Options& o) {
  if (o.task == "mta") {
    MtaRecipe recipe;
    set_if(recipe.train, o.train), set_if(recipe.dev, o.dev);
    if (o.seed) recipe.train_seed = *o.seed, recipe.dev_seed = *o.seed + 1;
    return generate_mta(recipe);
  }
  if (o.task == "sudoku") {
    check(!o.puzzles.empty(), "sudoku needs --puzzles, a csv file of questions and answers");
    SudokuRecipe recipe{
        .train_puzzles = o.train_puzzles, .augmentations = o.augmentations, .test_puzzles = o.test};
    if (o.seed) recipe.train_seed = *o.seed, recipe.test_seed = *o.seed + 1;
    return make_sudoku(read_sudoku(Source(o.puzzles)), recipe);
  }
  CompositionRecipe recipe;
  set_if(recipe.samples, o.samples);
  if (o.seed) recipe.seed = *o.seed;
  recipe.legacy = o.legacy;
  if (o.task == "function_composition") return generate_function_composition(recipe);
  if (o.task == "binary_relation") return generate_binary_relation(recipe);
  if (o.task == "quotient_relation") return generate_quotient_relation(recipe);
  if (o.task == "match3") return generate_match3(recipe);
  fail("there is no generator for '{}' (--help lists the tasks)", o.task);
}

int run(int argc, char** argv) {
  const auto parsed = parse(argc, argv);
  if (!parsed) return 0;
  const Options& o = *parsed;
  set_num_threads(o.threads);
  std::error_code error;
  std::filesystem::create_directories(o.out, error);
  check(!error, "the folder {} cannot be made: {}", o.out.string(), error.message());
  Written written{};
  if (o.task == "listops") {
    written = make_listops(o);
  } else if (o.task == "pathfinder32" || o.task == "pathfinder128") {
    written = make_pathfinder(o, o.task == "pathfinder32" ? 32 : 128);
  } else {
    const SequenceTask task = make_reasoning(o);
    write_split(o, "train", task.train);
    write_split(o, "dev", task.dev);
    written = {task.train.samples(), task.dev.samples(), 0, task.train.length()};
  }
  fmt::print("wrote {}: {}, {} + {}{} samples of length {}\n", o.out.string(), o.task,
             written.train, written.dev, written.test ? fmt::format(" + {}", written.test) : "",
             written.length);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "make_lra: {}\n", error.what());
    return 1;
  }
}
