// Optimiser steps of the CPU table against trajectories of the published optimisers in double.
#include <filesystem>
#include <string>

#include "cpu_table_values.hpp"
#include "flr/data/safetensors.hpp"

using namespace table_test;

namespace {

std::vector<double> doubles(const data::SafeTensors& file, const std::string& name) {
  const auto values = file.at(name).as<double>();
  return {values.begin(), values.end()};
}

void follow(const char* fixture, UpdateRule rule) {
  CAPTURE(fixture);
  const auto file =
      data::read_safetensors(std::filesystem::path(FLR_TEST_DIR) / "golden" / fixture);
  const auto number = [&](const char* key, double otherwise) {
    const auto found = file.metadata.find(key);
    return found == file.metadata.end() ? otherwise : std::stod(found->second);
  };
  const int steps = static_cast<int>(number("steps", 0));
  REQUIRE(steps == 6);
  for (int i = 0; i < 3; ++i) {
    const std::string part = "/" + std::to_string(i);
    std::vector<double> p = doubles(file, "p0" + part), m(p.size()), v(p.size());
    const ArenaRange all{0, static_cast<index_t>(p.size())};
    for (int step = 0; step < steps; ++step) {
      const std::vector<double> g = doubles(file, "grad/" + std::to_string(step) + part);
      UpdateParams<double> u;
      StepScalars scalars;
      u.rule = rule;
      u.ranges = &all, u.range_count = 1;
      u.p = p.data(), u.g = g.data(), u.m = m.data(), u.v = v.data();
      scalars.lr = number("lr", 0), scalars.weight_decay = number("weight_decay", 0);
      scalars.beta1 = number("beta1", 0), scalars.beta2 = number("beta2", 0);
      scalars.correction1 = 1 - std::pow(scalars.beta1, step + 1);
      scalars.correction2 = 1 - std::pow(scalars.beta2, step + 1);
      scalars.step = step + 1;
      if (rule == UpdateRule::sgd) scalars.beta1 = number("momentum", 0);
      u.s = &scalars;
      u.eps = number("eps", 0);
      u.nesterov = file.metadata.contains("nesterov");
      cpu_backend<double>().update(u);
      check_close(p, doubles(file, "p/" + std::to_string(step + 1) + part), 1e-12);
    }
  }
}

TEST_CASE("optimiser steps follow the golden trajectories") {
  follow("optim_adamw.safetensors", UpdateRule::adamw);
  follow("optim_adam_l2.safetensors", UpdateRule::adam_l2);
  follow("optim_lion.safetensors", UpdateRule::lion);
  follow("optim_sgd_nesterov.safetensors", UpdateRule::sgd);
}

}  // namespace
