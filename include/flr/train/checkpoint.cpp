#include "flr/train/checkpoint.hpp"

#include <nlohmann/json.hpp>

#include "flr/data/file.hpp"

namespace flr::train {

void write_position(const std::filesystem::path& file, const Position& position) {
  const nlohmann::ordered_json json = {
      {"step", position.step}, {"seed", position.seed}, {"loss", position.loss}};
  data::atomic_write(file, json.dump(2) + "\n");
}

Position read_position(const std::filesystem::path& file) {
  const auto json = nlohmann::json::parse(data::read_text(file), nullptr, false);
  check(json.is_object() && json.contains("step") && json["step"].is_number_integer() &&
            json["step"].get<index_t>() >= 0 && json.contains("seed") &&
            json["seed"].is_number_unsigned(),
        "[checkpoint] {}: expected JSON with a step and a seed", file.string());
  Position position;
  position.step = json["step"].get<index_t>();
  position.seed = json["seed"].get<std::uint64_t>();
  if (json.contains("loss") && json["loss"].is_number()) position.loss = json["loss"].get<double>();
  return position;
}

}  // namespace flr::train
