#include "scores.hpp"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "flr/data/file.hpp"

namespace lra {

using namespace flr;

Scores measure(models::SequenceModel<float>& model, const data::SequenceTask& task,
               const train::SequenceInputs& how, index_t batch) {
  Scores s;
  s.dev = train::score_sequences(model, task.dev, how, batch);
  s.test = task.same_test ? s.dev : train::score_sequences(model, task.test, how, batch);
  return s;
}

void add_scores(RunScores& run, const std::string& prefix, const Scores& s, bool token_labels) {
  run.values.emplace_back(prefix + "dev_accuracy", s.dev.accuracy());
  run.values.emplace_back(prefix + "test_accuracy", s.test.accuracy());
  if (token_labels) {
    run.values.emplace_back(prefix + "dev_token_accuracy", s.dev.token_accuracy());
    run.values.emplace_back(prefix + "test_token_accuracy", s.test.token_accuracy());
  }
  run.values.emplace_back(prefix + "dev_loss", s.dev.loss);
  run.values.emplace_back(prefix + "test_loss", s.test.loss);
}

std::string describe(const RunScores& scores) {
  const auto value = [&](const std::string& key) -> std::optional<double> {
    for (const auto& [name, v] : scores.values)
      if (name == key) return std::get<double>(v);
    return {};
  };
  const auto pair = [&](const std::string& prefix, const char* key) {
    return fmt::format("dev {:.4f}, test {:.4f}", *value(prefix + "dev_" + key),
                       *value(prefix + "test_" + key));
  };
  std::string text;
  for (const std::string prefix : {"", "ema_"}) {
    if (!value(prefix + "dev_accuracy")) continue;
    if (!prefix.empty()) text += "; EMA weights: ";
    text += "accuracy " + pair(prefix, "accuracy");
    if (value(prefix + "dev_token_accuracy"))
      text += "; of tokens " + pair(prefix, "token_accuracy");
  }
  return text;
}

void write_scores(const std::filesystem::path& folder, const RunScores& scores) {
  nlohmann::ordered_json json;
  for (const auto& [name, value] : scores.values) json[name] = std::get<double>(value);
  data::atomic_write(folder / "accuracy.json", json.dump(2) + "\n");
}

RunScores read_scores(const std::filesystem::path& folder) {
  const auto file = folder / "accuracy.json";
  const auto json = nlohmann::ordered_json::parse(data::read_text(file), nullptr, false);
  check(json.is_object(), "{}: expected a JSON object of accuracies", file.string());
  RunScores scores;
  for (const auto& [name, value] : json.items()) {
    check(value.is_number() || value.is_null(), "{}: '{}' is no number", file.string(), name);
    scores.values.emplace_back(name, value.is_null() ? std::nan("") : value.get<double>());
  }
  check(!scores.values.empty() && json.contains("dev_accuracy") && json.contains("test_accuracy"),
        "{}: expected dev_accuracy and test_accuracy", file.string());
  return scores;
}

}  // namespace lra
