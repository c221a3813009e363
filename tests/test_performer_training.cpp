// Performer's features in training: redrawn at their steps, and by a resumed run as by one that was
// never interrupted.
#include <doctest/doctest.h>

#include <filesystem>

#include "flr/train/trainer.hpp"

using namespace flr;
namespace fs = std::filesystem;

namespace {

using Model = models::MixerTransformer<float, mixers::Performer<float>>;

struct Run {
  data::Dataset set;
  Model model;
  optim::AdamW<float> optimizer;
  train::Trainer<float> trainer;

  Run()
      : set(make_set()),
        model("performer", small(),
              mixers::PerformerOptions{.channels = 8, .heads = 2, .features = 6, .redraw_interval = 2}),
        optimizer(model, {.lr = 1e-3}),
        trainer(model, optimizer, set, {.epochs = 4, .batch_size = 2}) {}

  static models::TransformerOptions small() {
    models::TransformerOptions o;
    o.channels = 8, o.heads = 2, o.blocks = 2;
    return o;
  }
  static data::Dataset make_set() {
    manual_seed(61);
    data::Dataset set;
    set.train.c_in = 2, set.train.c_out = 1;
    set.train.x = rand({6, 8, 2}).to_vector();
    for (std::size_t i = 0; i < set.train.x.size(); i += 2) set.train.y.push_back(set.train.x[i] + 1);
    set.train.offsets = {0};
    for (index_t i = 1; i <= 6; ++i) set.train.offsets.push_back(8 * i);
    set.test = set.train;
    set.x_norm = {{0, 0}, {1, 1}};
    set.y_norm = {{0.5}, {2}};
    return set;
  }
  std::vector<float> features(std::size_t layer) const {
    return model.buffers()[layer].value.to_vector();
  }
  std::vector<float> weights() { return model.arena().values.to_vector(); }
};

}  // namespace

TEST_CASE("a Performer redraws at its steps, each layer for itself, and a resumed run the same") {
  Run whole;
  REQUIRE(whole.model.buffers().size() == 2);
  std::vector<std::vector<float>> features;
  for (int n = 0; n < 6; ++n) {
    whole.trainer.step();
    features.push_back(whole.features(0));
    CHECK(whole.features(0) != whole.features(1));
  }
  CHECK(features[1] == features[0]);
  CHECK(features[2] != features[1]);
  CHECK(features[3] == features[2]);
  CHECK(features[4] != features[3]);

  const fs::path folder = fs::temp_directory_path() / "flr-performer-training";
  fs::remove_all(folder);
  for (int stop : {3, 4}) {  // between two redraws, and just before one
    CAPTURE(stop);
    fs::create_directories(folder);
    {
      Run first;
      for (int n = 0; n < stop; ++n) first.trainer.step();
      first.trainer.save(folder);
    }
    Run second;
    second.trainer.load(folder);
    CHECK(second.features(0) == features[static_cast<std::size_t>(stop - 1)]);
    for (int n = stop; n < 6; ++n) second.trainer.step();
    CHECK(second.features(0) == whole.features(0));
    CHECK(second.features(1) == whole.features(1));
    CHECK(second.weights() == whole.weights());
    fs::remove_all(folder);
  }
}
