// make_darcy: Darcy sets by the published recipe, of any grid, in parallel, resumable.
//
//   make_darcy --grid 43 --samples 400 --out darcy43.npz           a small set, in seconds
//   make_darcy --layout published --out data                       1000 + 200 samples of 421²
//
// The last line names the files: `wrote darcy43.npz: 400 samples of 43 x 43`.
#include <fmt/core.h>

#include <limits>

#include "flr/data/darcy_files.hpp"
#include "flr/data/darcy_generate.hpp"
#include "flr/train/interrupt.hpp"
#include "flr/train/progress.hpp"
#include "options.hpp"

namespace {

bool finished(const Options& options) {
  for (const Output& output : options.outputs)
    if (!std::filesystem::exists(output.path)) return false;
  return !std::filesystem::exists(options.part);
}

void prepare_folder(const std::filesystem::path& file) {
  if (!file.has_parent_path()) return;
  std::error_code error;
  std::filesystem::create_directories(file.parent_path(), error);
  flr::check(!error, "the folder {} cannot be made: {}", file.parent_path().string(),
             error.message());
}

/// Makes what is missing; false where Ctrl-C came first.
bool generate(const Options& options, flr::data::DarcyPart& part) {
  const flr::train::InterruptGuard interrupt;
  flr::train::Progress progress(options.set.samples, part.count(), {.title = "darcy"});
  constexpr double none = std::numeric_limits<double>::quiet_NaN();
  flr::data::generate_darcy(part, options.threads, [&](flr::index_t done) {
    progress.update(done, none, none);
    return !interrupt.requested();
  });
  progress.finish();
  return part.count() == options.set.samples;
}

int run(int argc, char** argv) {
  const auto parsed = parse_options(argc, argv);
  if (!parsed) return 0;
  const Options& options = *parsed;
  if (options.resume && finished(options)) {
    fmt::print("{} is already there\n", options.outputs[0].path.string());
    return 0;
  }
  prepare_folder(options.part);
  using flr::data::DarcyPart;
  DarcyPart part(options.part, options.set,
                 options.resume ? DarcyPart::Start::resume : DarcyPart::Start::fresh);
  if (!generate(options, part)) {
    fmt::print(stderr, "stopped with {} of {} samples; --resume goes on from there\n", part.count(),
               options.set.samples);
    return 1;
  }
  for (const Output& output : options.outputs)
    write_darcy(output.path, part, output.begin, output.end, options.type);
  part.remove();
  for (const Output& output : options.outputs)
    fmt::print("wrote {}: {} samples of {} x {}\n", output.path.string(), output.end - output.begin,
               options.set.side(), options.set.side());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "make_darcy: {}\n", error.what());
    return 1;
  }
}
