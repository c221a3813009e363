// The flags that training programs share.
#include "run_options.hpp"

namespace program {

namespace {
constexpr const char* training = "Training";
constexpr const char* optimiser = "Optimiser";
constexpr const char* schedule = "Schedule";
constexpr const char* machine = "Machine";
constexpr const char* results = "Evaluation and prediction";
constexpr Keep free = Keep::free, unsaved = Keep::unsaved;
}  // namespace

void add_run_flags(Flags& flags, RunOptions& o, const char* group) {
  flags.insert(
      flags.end(),
      {
          {group, "train", &o.train, "train a model from the start", unsaved},
          {group, "evaluate", &o.evaluate, "scores and pictures of the latest checkpoint", unsaved},
          {group, "restart", &o.restart, "go on from the latest checkpoint, with the same bits",
           unsaved},
          {group, "exp_name", &o.exp_name, "name of the run; a new run takes the next free one",
           free},
          {group, "out", &o.out, "folder of all runs", unsaved},
          {group, "load_weights_path", &o.load_weights_path,
           "start from the weights of a .safetensors"},
          {group, "config", &o.config, "start from a config.yaml; flags go before it", unsaved},
          {group, "seed", &o.seed, "of weights and batches"},
      });
}

void add_training_flags(Flags& flags, RunOptions& o) {
  flags.insert(
      flags.end(),
      {
          {training, "epochs", &o.epochs, "passes over the training set"},
          {training, "steps", &o.steps, "optimiser steps; replaces epochs if positive"},
          {training, "batch_size", &o.batch_size, "samples in a batch"},
          {training, "grad_accumulation_steps", &o.grad_accumulation_steps, "batches in a step"},
          {training, "clip_grad_norm", &o.clip_grad_norm, "largest gradient norm; 0: no limit"},
          {training, "ema", &o.ema, "keep an average of the weights"},
          {training, "ema_decay", &o.ema_decay, "of the average"},
          {training, "stats_every", &o.stats_every,
           "epochs (with --steps: steps) between statistics; 0: a tenth of the run", free},
          {training, "checkpoint_every", &o.checkpoint_every,
           "the same for checkpoints; 0: with them", free},
      });
}

void add_optimizer_flags(Flags& flags, RunOptions& o) {
  flags.insert(flags.end(),
               {
                   {optimiser, "optimizer", &o.optimizer, "adamw, adam, sgd, lion, muon"},
                   {optimiser, "learning_rate", &o.learning_rate, "the largest"},
                   {optimiser, "weight_decay", &o.weight_decay, "of the group that decays"},
                   {optimiser, "opt_beta1", &o.opt_beta1,
                    "decay of the mean of gradients; OneCycleLR moves it"},
                   {optimiser, "opt_beta2", &o.opt_beta2, "decay of the mean of their squares"},
                   {optimiser, "opt_eps", &o.opt_eps, "added to the root of that"},
                   {optimiser, "momentum", &o.momentum, "of sgd (0.9) and muon (0.95)"},
                   {optimiser, "nesterov", &o.nesterov, "sgd: look ahead"},
                   {optimiser, "muon_adam_lr", &o.muon_adam_lr,
                    "muon: rate of what AdamW trains; else the same"},
                   {optimiser, "decay_latents", &o.decay_latents,
                    "latents decay like matrices, as in the published runs"},
               });
}

void add_schedule_flags(Flags& flags, RunOptions& o) {
  flags.insert(
      flags.end(),
      {
          {schedule, "schedule", &o.schedule,
           "OneCycleLR, CosineAnnealingLR, CosineAnnealingWarmRestarts, ConstantLR"},
          {schedule, "one_cycle_pct_start", &o.one_cycle_pct_start, "part of the run that rises"},
          {schedule, "one_cycle_div_factor", &o.one_cycle_div_factor,
           "largest rate over the first"},
          {schedule, "one_cycle_final_div_factor", &o.one_cycle_final_div_factor,
           "first over last"},
          {schedule, "one_cycle_three_phase", &o.one_cycle_three_phase,
           "fall to the first rate between"},
          {schedule, "one_cycle_cycle_momentum", &o.one_cycle_cycle_momentum, "beta1 moves too"},
          {schedule, "one_cycle_base_momentum", &o.one_cycle_base_momentum, "smallest beta1"},
          {schedule, "one_cycle_max_momentum", &o.one_cycle_max_momentum, "largest beta1"},
          {schedule, "one_cycle_anneal_strategy", &o.one_cycle_anneal_strategy, "cos or linear"},
          {schedule, "one_cycle_override_min_lr", &o.one_cycle_override_min_lr, "the last rate"},
          {schedule, "warmup_steps", &o.warmup_steps, "linear warm-up in front of any schedule"},
          {schedule, "min_learning_rate", &o.min_learning_rate, "where cosines end"},
          {schedule, "restart_period", &o.restart_period,
           "steps of the first cosine; 0: a quarter"},
          {schedule, "restart_factor", &o.restart_factor, "each next one so many times as long"},
      });
}

void add_machine_flags(Flags& flags, RunOptions& o) {
  flags.insert(
      flags.end(),
      {
          {machine, "device", &o.device, "cpu or cuda", free},
          {machine, "precision", &o.precision,
           "fp32; tf32: rounded factors in matrix products, on a GPU; bf16: activations of 16 "
           "bits; an evaluation may take another",
           Keep::for_evaluation},
          {machine, "mixed_precision", &o.mixed_precision, "the reference's name of bf16",
           Keep::for_evaluation},
          {machine, "no_graph", &o.no_graph, "GPU: no CUDA graphs; slower, with the same bits",
           free},
          {machine, "threads", &o.threads, "0: all; results do not depend on it", free},
          {results, "weights", &o.weights, "raw or ema, for pictures and predictions", unsaved},
      });
}

void add_ignored_flags(Flags& flags, RunOptions& o) {
  flags.insert(
      flags.end(),
      {
          {ignored_group, "compile_model", &o.compile_model,
           "nothing is compiled when a run starts", free},
          {ignored_group, "static_graph", &o.static_graph, "belongs to compile_model", free},
          {ignored_group, "use_triton", &o.use_triton, "there is no Triton here", free},
          {ignored_group, "num_workers", &o.num_workers,
           "batches are made in one thread, ahead of time", free},
          {ignored_group, "prefetch_factor", &o.prefetch_factor, "one batch is made ahead", free},
      });
}

}  // namespace program
