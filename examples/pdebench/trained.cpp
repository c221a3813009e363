#include "trained.hpp"

#include "flr/train/weights.hpp"
#include "machine.hpp"
#include "model_factory.hpp"

namespace pdebench {

using namespace flr;

std::unique_ptr<models::Model<float>> load_model(const Options& o,
                                                 const std::filesystem::path& checkpoint,
                                                 const std::string& weights, index_t c_in,
                                                 index_t c_out) {
  auto model = make_model(o, c_in, c_out);
  const auto file = checkpoint / (weights == "ema" ? "ema.safetensors" : "model.safetensors");
  train::load_weights(file, *model);
  program::place_model(o, *model);
  return model;
}

}  // namespace pdebench
