#include "optimizer_factory.hpp"

namespace program {

using namespace flr;

namespace {

std::unique_ptr<optim::Schedule> main_schedule(const RunOptions& o, index_t steps) {
  const double lr = o.learning_rate;
  if (o.schedule == "ConstantLR") return std::make_unique<optim::Constant>(lr);
  if (o.schedule == "CosineAnnealingLR")
    return std::make_unique<optim::Cosine>(lr, steps, o.min_learning_rate);
  if (o.schedule == "CosineAnnealingWarmRestarts") {
    const index_t period =
        o.restart_period > 0 ? o.restart_period : std::max<index_t>(1, steps / 4);
    return std::make_unique<optim::CosineWarmRestarts>(lr, period, o.restart_factor,
                                                       o.min_learning_rate);
  }
  optim::OneCycleOptions c;
  c.max_lr = lr, c.total_steps = steps;
  c.pct_start = o.one_cycle_pct_start;
  c.div_factor = o.one_cycle_div_factor, c.final_div_factor = o.one_cycle_final_div_factor;
  c.three_phase = o.one_cycle_three_phase;
  c.cycle_momentum = o.one_cycle_cycle_momentum;
  c.base_momentum = o.one_cycle_base_momentum, c.max_momentum = o.one_cycle_max_momentum;
  if (o.one_cycle_anneal_strategy == "linear") c.strategy = optim::Anneal::linear;
  c.min_lr = o.one_cycle_override_min_lr.value_or(-1);
  return std::make_unique<optim::OneCycle>(c);
}

}  // namespace

std::unique_ptr<optim::Optimizer<float>> make_optimizer(const RunOptions& o,
                                                        nn::Module<float>& model) {
  const optim::GroupOptions groups{.legacy = o.decay_latents};
  if (o.optimizer == "sgd")
    return std::make_unique<optim::SGD<float>>(
        model, optim::SgdOptions{.lr = o.learning_rate,
                                 .momentum = o.momentum.value_or(0.9),
                                 .weight_decay = o.weight_decay,
                                 .nesterov = o.nesterov,
                                 .groups = groups});
  if (o.optimizer == "lion")
    return std::make_unique<optim::Lion<float>>(
        model, optim::LionOptions{o.learning_rate, o.opt_beta1, o.opt_beta2, o.weight_decay,
                                  o.legacy, groups});
  if (o.optimizer == "muon")
    return std::make_unique<optim::Muon<float>>(
        model, optim::MuonOptions{.lr = o.learning_rate,
                                  .momentum = o.momentum.value_or(0.95),
                                  .weight_decay = o.weight_decay,
                                  .adam_lr = o.muon_adam_lr.value_or(o.learning_rate),
                                  .beta1 = o.opt_beta1,
                                  .beta2 = o.opt_beta2,
                                  .eps = o.opt_eps,
                                  .groups = groups});
  const optim::AdamOptions adam{o.learning_rate, o.opt_beta1,    o.opt_beta2,
                                o.opt_eps,       o.weight_decay, groups};
  if (o.optimizer == "adam") return std::make_unique<optim::Adam<float>>(model, adam);
  return std::make_unique<optim::AdamW<float>>(model, adam);
}

std::unique_ptr<optim::Schedule> make_schedule(const RunOptions& o, index_t steps) {
  if (o.warmup_steps == 0) return main_schedule(o, steps);
  check(o.warmup_steps < steps, "--warmup_steps {} leaves nothing of a run of {} steps",
        o.warmup_steps, steps);
  return std::make_unique<optim::LinearWarmup>(o.warmup_steps,
                                               main_schedule(o, steps - o.warmup_steps));
}

}  // namespace program
