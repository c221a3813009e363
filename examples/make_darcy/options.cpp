#include "options.hpp"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <thread>

#include "flr/data/darcy_files.hpp"

using namespace flr;
using namespace flr::data;
namespace fs = std::filesystem;

namespace {

// The reference's loader looks for the published names, whatever the number of samples inside.
std::string published_name(const DarcySet& set, index_t count, int half) {
  const bool full = set.side() == 421;
  return fmt::format("piececonst_r{}_N{}_smooth{}.mat", set.side(), full ? 1024 : count, half);
}

std::vector<Output> two_outputs(const DarcySet& set, const std::string& out, bool published,
                                index_t train, index_t test) {
  std::vector<Output> outputs;
  const fs::path path = out;
  const auto add = [&](index_t begin, index_t count, int half) {
    if (count == 0) return;
    const std::string suffix = (half == 1 ? "_train" : "_test") + path.extension().string();
    const fs::path file = published ? path / "FNO/darcy" / published_name(set, count, half)
                                    : path.parent_path() / (path.stem().string() + suffix);
    outputs.push_back({file, begin, begin + count});
  };
  add(0, train, 1);
  add(train, test, 2);
  return outputs;
}

}  // namespace

std::optional<Options> parse_options(int argc, char** argv) {
  CLI::App app{
      "Makes Darcy sets: -div(a grad u) = f on the unit square, u = 0 on its edge, a random and of "
      "two values.\nDefaults are the published benchmark's. A run that was stopped goes on with "
      "--resume."};
  Options options;
  DarcyRecipe& recipe = options.set.recipe;
  index_t samples = 0, train = 0, test = 0;
  std::string out = "darcy.npz", layout = "single";
  bool double_precision = false;
  options.threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));

  app.add_option("--out", out,
                 "File to write, .mat or .npz; with --layout published the data folder")
      ->capture_default_str();
  app.add_option("--grid", recipe.grid, "Cells along an axis")->capture_default_str();
  app.add_option("--samples", samples, "Number of samples in one file");
  app.add_option("--train", train, "Number of training samples, in a file of their own");
  app.add_option("--test", test, "Number of test samples, in a file of their own");
  app.add_option("--layout", layout,
                 "single: --out names the file (two with --train and --test: _train, _test); "
                 "published: FNO/darcy/piececonst_r421_N1024_smooth1.mat and smooth2 below --out")
      ->capture_default_str()
      ->check(CLI::IsMember({"single", "published"}));
  app.add_option("--downsample", options.set.stride, "Keep every r-th cell along each axis")
      ->capture_default_str();
  app.add_option("--seed", recipe.seed, "Sample i depends on the seed and on i alone")
      ->capture_default_str();
  app.add_option("--threads", options.threads, "Threads; the samples do not depend on it")
      ->capture_default_str();
  app.add_flag("--resume", options.resume, "Go on with an interrupted run");
  app.add_flag("--double", double_precision, "Write doubles; single precision otherwise");
  app.add_option("--tau", recipe.tau, "Inverse length scale of the field")->capture_default_str();
  app.add_option("--alpha", recipe.alpha, "Smoothness of the field")->capture_default_str();
  app.add_option("--high", recipe.high, "Coefficient where the field is >= 0")
      ->capture_default_str();
  app.add_option("--low", recipe.low, "Coefficient elsewhere")->capture_default_str();
  app.add_option("--source", recipe.source, "Right-hand side f")->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& help) {
    app.exit(help);
    return {};
  } catch (const CLI::ParseError& error) {
    fail("{} (--help lists the options)", error.what());
  }

  const bool published = layout == "published";
  check(samples >= 0 && train >= 0 && test >= 0, "the number of samples must not be negative");
  check(samples == 0 || train + test == 0, "give either --samples, or --train and --test");
  if (published && samples == 0 && train + test == 0) train = 1000, test = 200;
  check(!published || samples == 0, "--layout published takes --train and --test, not --samples");
  check(options.threads >= 1, "expected at least one thread; got {}", options.threads);

  const bool single = train + test == 0;
  if (single && samples == 0) samples = 1024;
  options.set.samples = single ? samples : train + test;
  check_set(options.set);
  if (!published) check_darcy_path(out);
  options.outputs = single ? std::vector<Output>{{out, 0, samples}}
                           : two_outputs(options.set, out, published, train, test);
  options.part = published ? fs::path(out) / "FNO/darcy/make_darcy.part" : fs::path(out + ".part");
  if (double_precision) options.type = ElementType::f64;
  return options;
}
