// golden_check agrees with every fixture, and notices one value that is off by a millionth.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "flr/data/file.hpp"
#include "flr/data/safetensors.hpp"

namespace fs = std::filesystem;
using namespace flr;

namespace {

const fs::path golden = fs::path(FLR_TEST_DIR) / "golden";

/// A folder that goes away.
struct Folder {
  fs::path path = fs::temp_directory_path() / fmt::format("flr-golden-{}", std::rand());
  Folder() { fs::create_directory(path); }
  ~Folder() { fs::remove_all(path); }
};

/// golden_check's exit code on some files; what it prints goes to `printed`.
int golden_check(const std::vector<fs::path>& files, std::string* printed = nullptr) {
  const Folder folder;
  const fs::path log = folder.path / "log";
  std::string command = std::string(FLR_BIN_DIR) + "/golden_check";
  for (const fs::path& file : files) command += " '" + file.string() + "'";
  const int status = std::system((command + " >'" + log.string() + "' 2>&1").c_str());
  if (printed) *printed = data::read_text(log);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

bool built() { return fs::exists(fs::path(FLR_BIN_DIR) / "golden_check"); }

/// A copy of a fixture with the largest value of one tensor changed by 1e-6 of itself.
void tamper(const fs::path& from, const std::string& tensor, const fs::path& to) {
  data::SafeTensors file = data::read_safetensors(from);
  std::vector<double> values = file.at(tensor).convert<double>();
  std::size_t largest = 0;
  for (std::size_t i = 0; i < values.size(); ++i)
    if (std::isfinite(values[i]) && !(std::abs(values[i]) <= std::abs(values[largest]))) largest = i;
  values[largest] *= 1 + 1e-6;
  file.tensors[tensor] = data::Array(values, file.at(tensor).shape());
  data::write_safetensors(to, file);
}

TEST_CASE("golden_check agrees with every fixture") {
  if (!built()) return;
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(golden)) files.push_back(entry.path());
  REQUIRE(files.size() >= 33);
  std::string printed;
  const int code = golden_check(files, &printed);
  INFO(printed);
  CHECK(code == 0);
  CHECK(printed.find(fmt::format("{} files agree", files.size())) != printed.npos);
}

TEST_CASE("golden_check notices one value changed by 1e-6") {
  if (!built()) return;
  const Folder folder;
  const std::pair<const char*, const char*> cases[] = {
      {"pde_flare_a", "out/y"},          {"pde_flare_a", "grad/blocks.0.att.latent_q"},
      {"pde_flare_b", "grad_in/x"},      {"pde_transformer_a", "out/loss"},
      {"pde_flare_ablations_a", "out/y"}, {"sdpa_a", "dk"},
      {"sdpa_bias", "lse"},              {"sdpa_causal", "y"},
      {"flare_mixer_a", "z"},            {"flare_mixer_d32", "dq"},
      {"causal_flare_a", "dq"},          {"causal_linear_a", "dv"},
      {"pde_linear_swiglu", "grad/blocks.1.att.kernel.layer3.weight"},
      {"pde_linformer_a", "grad/blocks.0.att.E_v"},
      {"triple_a", "dk2"},               {"triple_a", "state"},
      {"lra_ema_a", "grad/blocks.0.att.ema.eta"},
      {"lra_strassen_a", "grad/blocks.1.att.g2"},
      {"lra_third_order_a", "grad/blocks.0.att.att_proj.weight"},
      {"lra_performer_a", "buffer/blocks.0.att.proj_matrix"},
      {"optim_muon", "p/6/0"},           {"optim_adamw", "p/1/0"}};
  for (const auto& [name, tensor] : cases) {
    CAPTURE(name);
    CAPTURE(tensor);
    const fs::path copy = folder.path / "tampered.safetensors";
    tamper(golden / (std::string(name) + ".safetensors"), tensor, copy);
    CHECK(golden_check({copy}) == 1);
  }
}

TEST_CASE("golden_check refuses what is no fixture") {
  if (!built()) return;
  const Folder folder;
  const auto file = [&](const char* name, const std::string& text) {
    std::ofstream(folder.path / name) << text;
    return folder.path / name;
  };
  std::string whole = data::read_text(golden / "sdpa_a.safetensors");
  for (const fs::path& path :
       {folder.path / "missing.safetensors", file("empty.safetensors", ""),
        file("cut.safetensors", whole.substr(0, whole.size() / 2)), file("empty.json", "{}"),
        file("odd.json", R"({"one_cycle": 1})"), file("broken.json", "{")}) {
    CAPTURE(path);
    std::string printed;
    CHECK(golden_check({path}, &printed) == 1);
    CHECK(printed.find("json.exception") == printed.npos);
  }
  CHECK(golden_check({}) == 1);
}

}  // namespace
