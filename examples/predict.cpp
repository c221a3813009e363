// Loads what pdebench trained (a FLARE run), predicts at the points of an .npz, and writes VTK.
//
// Run: build/cpu/bin/predict out/pdebench/exp inputs.npz fields.vtu [KEY]
// inputs.npz holds x [S,N,c] (or KEY), coordinates first, as the run's data set has it; the first
// sample is written. The last line it prints starts with: wrote fields.vtu
#include <flr/data.hpp>
#include <flr/data/vtk.hpp>
#include <flr/flr.hpp>
#include <flr/train.hpp>

#include <cmath>
#include <iostream>

using namespace flr;

namespace {

models::FlareOptions flare_options(const train::RunConfig& config, index_t c_in, index_t c_out) {
  const auto integer = [&](const char* key) { return config.get<std::int64_t>(key); };
  const auto number = [&](const char* key) { return config.get<double>(key); };
  const std::string type = config.get<std::string>("model_type");
  check(type == "flare" || type == "flare_experimental", "expected a FLARE run; this is a {}",
        type);
  check(config.is_null("act"), "expected a run with FLARE's own activation");
  models::FlareOptions o;
  o.c_in = c_in, o.c_out = c_out;
  o.channels = integer("channel_dim"), o.heads = integer("num_heads");
  o.latents = integer("num_latents"), o.blocks = static_cast<int>(integer("num_blocks"));
  if (config.get<std::string>("attn_scale") == "sqrt")
    o.attn_scale = 1 / std::sqrt(static_cast<double>(o.channels / o.heads));
  o.rmsnorm = config.get<bool>("rmsnorm"), o.qk_norm = config.get<bool>("qk_norm");
  o.out_norm = config.get<bool>("out_proj_norm");
  o.in_out_layers = static_cast<int>(integer("num_layers_in_out_proj"));
  o.k_layers = static_cast<int>(integer("num_layers_k_proj"));
  o.v_layers = static_cast<int>(integer("num_layers_v_proj"));
  o.ffn_layers = static_cast<int>(integer("num_layers_ffn"));
  o.in_out_ratio = number("in_out_proj_ratio"), o.ffn_ratio = number("ffn_mlp_ratio");
  o.k_ratio = number("k_proj_mlp_ratio"), o.v_ratio = number("v_proj_mlp_ratio");
  return o;
}

int run(const std::filesystem::path& folder, const std::string& input, const std::string& output,
        const std::string& key) {
  const auto norm = data::read_safetensors(folder / "normalizer.safetensors");
  const auto mean_std = [&](const std::string& part) {
    return data::Normalizer{norm.at(part + "_mean").convert<double>(),
                            norm.at(part + "_std").convert<double>()};
  };
  const data::Normalizer x_norm = mean_std("x"), y_norm = mean_std("y");
  const auto c_in = static_cast<index_t>(x_norm.mean.size());
  const auto c_out = static_cast<index_t>(y_norm.mean.size());

  models::Flare<float> model(
      flare_options(train::RunConfig::load(folder / "config.yaml"), c_in, c_out));
  const auto checkpoint = train::latest_checkpoint(folder);
  check(checkpoint.has_value(), "{} has no checkpoint yet", folder.string());
  train::load_weights(*checkpoint / "model.safetensors", model);

  const data::PointSet all = data::load_npz_points(input, key);
  check(all.c_in == c_in, "{}: expected {} inputs a point; got {}", input, c_in, all.c_in);
  data::PointSet first = all.select({0});
  const index_t n = first.points(0), dims = std::min<index_t>(c_in, 3);
  std::vector<float> points;  // VTK wants two or three coordinates
  for (index_t i = 0; i < n; ++i)
    for (index_t d = 0; d < std::max<index_t>(2, dims); ++d)
      points.push_back(d < dims ? first.x[static_cast<std::size_t>(i * c_in + d)] : 0.0f);
  x_norm.encode(first.x);
  const std::vector<float> y = train::predict(model, first, y_norm, 1);

  data::VtkFields fields;
  fields["prediction"] = data::Array(y, {n, c_out});
  data::write_vtu(output, data::Array(points, {n, std::max<index_t>(2, dims)}), fields);
  std::cout << "checkpoint " << checkpoint->string() << "\n"
            << "wrote " << output << ": " << n << " points\n";
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4 || argc > 5) {
    std::cerr << "usage: predict RUN_FOLDER INPUTS.npz FIELDS.vtu [KEY]\n";
    return 1;
  }
  try {
    return run(argv[1], argv[2], argv[3], argc > 4 ? argv[4] : "x");
  } catch (const std::exception& error) {
    std::cerr << "predict: " << error.what() << "\n";
    return 1;
  }
}
