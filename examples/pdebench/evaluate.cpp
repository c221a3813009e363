#include "flr/train/evaluate.hpp"

#include <cmath>

#include "machine.hpp"
#include "output.hpp"
#include "problem.hpp"
#include "require_checkpoint.hpp"
#include "run.hpp"
#include "spectra.hpp"
#include "statistics.hpp"
#include "summary.hpp"
#include "trained.hpp"

namespace pdebench {

using namespace flr;
namespace fs = std::filesystem;

namespace {

bool has_average(const fs::path& checkpoint) {
  return fs::exists(checkpoint / "ema.safetensors");
}

// Another set is evaluated into a folder of its own, so that the run's results stay.
fs::path folder_for(const Options& o) {
  if (o.test_dataset.empty()) return o.folder();
  const fs::path folder = o.folder() / ("test_" + fs::path(o.test_dataset).stem().string());
  std::error_code error;
  fs::create_directory(folder, error);
  check(!error, "{} cannot be created: {}", folder.string(), error.message());
  return folder;
}

double test_error(models::Model<float>& model, const data::Dataset& set) {
  return train::evaluate(model, set.test, set.y_norm, set.eval_batch).relative_l2;
}

// Errors of the run's own set, or with --test_dataset the test error of that alone.
train::RelativeErrors measure_both(const Options& o, const fs::path& checkpoint,
                                   models::Model<float>& raw, const data::Dataset& set) {
  const bool other = !o.test_dataset.empty();
  const auto of = [&](models::Model<float>& m) {
    return other ? Errors{std::nan(""), test_error(m, set)} : measure(m, set);
  };
  const Errors e = of(raw);
  train::RelativeErrors all{e.train, e.test};
  if (has_average(checkpoint)) {
    const auto ema = load_model(o, checkpoint, "ema", set.test.c_in, set.test.c_out);
    const Errors a = of(*ema);
    all.ema_train = a.train, all.ema_test = a.test;
  }
  return all;
}

}  // namespace

int evaluate(const Options& o) {
  program::set_up_machine(o);
  const fs::path checkpoint = program::require_checkpoint(o);
  data::Dataset set = load_problem(o);
  check_same_data(o.folder(), set);
  if (!o.test_dataset.empty()) {
    data::Dataset other = load_test_set(o, set);
    other.train = std::move(set.train);
    set = std::move(other);
  }
  const auto raw = load_model(o, checkpoint, "raw", set.test.c_in, set.test.c_out);
  fmt::print("checkpoint {}\n", checkpoint.string());
  print_summary(o, set, *raw);

  const train::RelativeErrors errors = measure_both(o, checkpoint, *raw, set);
  if (o.test_dataset.empty())
    fmt::print("relative L2 {}\n", describe(errors));
  else
    fmt::print("relative L2 on {}: {:.4g}{}\n", o.test_dataset, errors.test,
               errors.ema_test ? fmt::format(" (EMA weights: {:.4g})", *errors.ema_test) : "");
  if (o.baselines) print_baselines(set);

  const fs::path folder = folder_for(o);
  if (o.test_dataset.empty()) train::write_rel_error(checkpoint, errors);
  train::write_rel_error(folder, errors);
  if (o.spectra) write_spectra(folder, *raw, set.test, o.legacy || o.legacy_scores);
  check(o.weights == "raw" || has_average(checkpoint), "--weights ema: {} keeps no average",
        checkpoint.string());
  const auto shown = o.weights == "ema"
                         ? load_model(o, checkpoint, "ema", set.test.c_in, set.test.c_out)
                         : nullptr;
  write_predictions(folder, set,
                    train::predict(shown ? *shown : *raw, set.test, set.y_norm, set.eval_batch),
                    o.data_dims);
  fmt::print("results in {}\n", folder.string());
  return 0;
}

}  // namespace pdebench
