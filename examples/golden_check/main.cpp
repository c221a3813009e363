// golden_check FILE…: builds what each fixture describes and compares outputs and gradients.
//
// Run: golden_check [--device cuda] tests/golden/*.safetensors tests/golden/schedules.json
// The last line is "N files agree", or says how many do not (exit code 1).
#include <cstdio>
#include <string_view>

#include "compare.hpp"
#include "flr/cuda/cuda.hpp"

namespace {

template <class T>
Verdict check_file(const flr::data::SafeTensors& file) {
  if (file.metadata.contains("task") && file.metadata.at("task") == "lra")
    return check_sequence_model<T>(file);
  if (file.metadata.contains("model")) return check_model<T>(file);
  if (file.metadata.contains("kind")) return check_optimizer<T>(file);
  if (file.metadata.contains("mask")) return check_sdpa<T>(file);
  if (file.metadata.contains("scale") && file.contains("z")) return check_flare_mixer<T>(file);
  if (file.metadata.contains("scale") && file.contains("q")) return check_causal<T>(file);
  if (file.contains("state") && file.contains("k2")) return check_triple<T>(file);
  flr::fail("[golden_check] this fixture is of a kind that is not part of this version");
}

bool report(const std::string& path, const char* precision, const Verdict& v) {
  flr::check(!v.tensor.empty(), "[golden_check] there is nothing in it to compare");
  fmt::print("{:<44} {:<7} worst {:.2e} ({}){}\n", path, precision, v.worst, v.tensor,
             v.ok ? "" : "  BEYOND TOLERANCE: " + v.first_bad);
  return v.ok;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || std::string_view(argv[1]) == "--help") {
    fmt::print(argc < 2 ? stderr : stdout,
               "usage: golden_check [--device cpu|cuda] FILE…   (fixtures in safetensors, or schedules.json)\n");
    return argc < 2;
  }
  int first = 1, bad = 0;
  if (std::string_view(argv[1]) == "--device") {
    const std::string_view name = argc > 2 ? argv[2] : "";
    if (argc < 4 || (name != "cpu" && name != "cuda")) {
      fmt::print(stderr, "golden_check: expected --device cpu or --device cuda, and then files\n");
      return 1;
    }
    if (name == "cuda" && !flr::cuda::linked()) {
      fmt::print(stderr, "golden_check: this program was built without CUDA (tools/build cuda)\n");
      return 1;
    }
    if (name == "cuda") device = flr::Device::cuda;
    first = 3;
  }
  for (int i = first; i < argc; ++i) {
    const std::string path = argv[i];
    try {
      if (path.ends_with(".json")) {
        bad += !report(path, "double", check_schedules(path));
      } else {
        const flr::data::SafeTensors file = flr::data::read_safetensors(path);
        const bool in_double = report(path, "double", check_file<double>(file));
        const bool in_float = report(path, "float", check_file<float>(file));
        bad += !(in_double && in_float);
      }
    } catch (const std::exception& e) {
      std::fflush(stdout);
      fmt::print(stderr, "{:<44} {}\n", path, e.what());
      ++bad;
    }
  }
  if (bad) fmt::print("{} of {} files do not agree\n", bad, argc - first);
  else fmt::print("{} files agree\n", argc - first);
  return bad ? 1 : 0;
}
