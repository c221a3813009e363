// Optimiser fixtures (parameters after every step) and schedules.
#include <nlohmann/json.hpp>

#include "compare.hpp"
#include "flr/data/file.hpp"

namespace {

/// The fixture's parameters p0/0, p0/1, … as a module.
template <class T>
class Parameters : public flr::nn::Module<T> {
 public:
  explicit Parameters(const flr::data::SafeTensors& file) {
    for (int i = 0; file.contains(fmt::format("p0/{}", i)); ++i) {
      const auto value = flr::data::to_tensor<T>(file.at(fmt::format("p0/{}", i)));
      list.push_back(this->add_parameter(fmt::format("block.{}", i), value.shape(),
                                         flr::nn::Role::weight));
      list.back().copy_(value);
    }
  }
  std::vector<flr::Tensor<T>> list;
};

template <class T>
std::unique_ptr<flr::optim::Optimizer<T>> make_optimizer(
    flr::nn::Module<T>& module, const std::map<std::string, std::string>& m) {
  const auto number = [&](const char* key, double otherwise = 0) {
    const auto it = m.find(key);
    return it == m.end() ? otherwise : std::stod(it->second);
  };
  const std::string& kind = m.at("kind");
  const double lr = number("lr"), decay = number("weight_decay");
  using namespace flr::optim;
  if (kind == "adamw" || kind == "adam") {
    const AdamOptions o{lr, number("beta1"), number("beta2"), number("eps"), decay, {}};
    if (kind == "adam") return std::make_unique<Adam<T>>(module, o);
    return std::make_unique<AdamW<T>>(module, o);
  }
  if (kind == "sgd")
    return std::make_unique<SGD<T>>(
        module, SgdOptions{lr, number("momentum"), number("dampening"), decay,
                           m.contains("nesterov") && m.at("nesterov") == "true", {}});
  if (kind == "lion")
    return std::make_unique<Lion<T>>(
        module, LionOptions{lr, number("beta1"), number("beta2"), decay, false, {}});
  if (kind == "muon") {
    MuonOptions o;
    o.lr = lr, o.momentum = number("momentum"), o.weight_decay = decay;
    o.ns_steps = static_cast<int>(number("ns_steps", 5));
    return std::make_unique<Muon<T>>(module, o);
  }
  flr::fail("[golden_check] unknown optimiser '{}'", kind);
}

}  // namespace

template <class T>
Verdict check_optimizer(const flr::data::SafeTensors& file) {
  Parameters<T> module(file);
  module.to(device);
  auto optimizer = make_optimizer<T>(module, file.metadata);
  const bool matrices_only = file.metadata.at("kind") == "muon";
  Comparison result(sizeof(T) == 8, 0);
  const int steps = std::stoi(file.metadata.at("steps"));
  for (int k = 0; k < steps; ++k) {
    optimizer->zero_grad();
    for (std::size_t i = 0; i < module.list.size(); ++i) {
      // The gradient of Σ p·g is g.
      const auto g = on_device<T>(file.at(fmt::format("grad/{}/{}", k, i)));
      flr::backward(flr::sum(module.list[i] * g));
    }
    optimizer->step();
    for (std::size_t i = 0; i < module.list.size(); ++i) {
      const std::string name = fmt::format("p/{}/{}", k + 1, i);
      if (!matrices_only || module.list[i].rank() == 2)
        result.add(name, module.list[i], file.at(name));
    }
  }
  return result.verdict;
}

template Verdict check_optimizer<float>(const flr::data::SafeTensors&);
template Verdict check_optimizer<double>(const flr::data::SafeTensors&);

namespace {

Verdict compare_schedules(const std::string& path) {
  using namespace flr::optim;
  const auto json = nlohmann::json::parse(flr::data::read_text(path), nullptr, false);
  flr::check(json.is_object(), "[golden_check] {}: expected a JSON object", path);
  Verdict verdict;
  for (const auto& [name, entry] : json.items()) {
    const auto& a = entry.at("args");
    std::unique_ptr<Schedule> schedule;
    if (name.starts_with("one_cycle")) {
      OneCycleOptions o;
      o.max_lr = a.at("max_lr"), o.total_steps = a.at("total_steps");
      o.pct_start = a.at("pct_start"), o.div_factor = a.at("div_factor");
      o.final_div_factor = a.at("final_div_factor"), o.three_phase = a.at("three_phase");
      o.cycle_momentum = a.at("cycle_momentum");
      o.base_momentum = a.value("base_momentum", 0.85), o.max_momentum = a.value("max_momentum", 0.95);
      o.strategy = a.at("anneal_strategy") == "cos" ? Anneal::cosine : Anneal::linear;
      schedule = std::make_unique<OneCycle>(o);
    } else if (name == "cosine") {
      schedule = std::make_unique<Cosine>(1e-3, a.at("T_max").get<long long>(),
                                          a.at("eta_min").get<double>());
    } else if (name == "cosine_warm_restarts") {
      schedule = std::make_unique<CosineWarmRestarts>(
          1e-3, a.at("T_0").get<long long>(), a.at("T_mult").get<long long>(),
          a.at("eta_min").get<double>());
    } else {
      flr::fail("[golden_check] {}: unknown schedule '{}'", path, name);
    }
    const std::vector<double> lr = entry.at("lr");
    // Schedules that leave the momentum alone have none.
    const std::vector<double> beta1 = entry.value("beta1", std::vector<double>(lr.size(), 0.9));
    for (std::size_t i = 0; i < lr.size(); ++i) {
      const ScheduledValues v = schedule->at(static_cast<long long>(i));
      const double b = v.beta1 < 0 ? 0.9 : v.beta1;
      for (const auto& [what, got, expected] :
           {std::tuple{"lr", v.lr, lr[i]}, {"beta1", b, beta1[i]}}) {
        // Rates that fall to zero are compared with the largest one.
        const double error = std::abs(got - expected) / std::max(std::abs(expected), 1e-6);
        if (verdict.tensor.empty() || !(error <= verdict.worst))
          verdict.worst = error, verdict.tensor = fmt::format("{} {}[{}]", name, what, i);
        if (!(error <= 1e-10) && verdict.ok)
          verdict.ok = false, verdict.first_bad = fmt::format("{} {}[{}]", name, what, i);
      }
    }
  }
  return verdict;
}

}  // namespace

Verdict check_schedules(const std::string& path) {
  try {
    return compare_schedules(path);
  } catch (const nlohmann::json::exception&) {
    flr::fail("[golden_check] {} does not hold schedules with their args, lr and beta1", path);
  }
}
