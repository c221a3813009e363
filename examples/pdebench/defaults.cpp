// The hyperparameters of the paper: --use_defaults true.
#include "options.hpp"

namespace pdebench {

namespace {

struct FlareRow {
  const char* dataset;
  std::int64_t latents, heads;
};
// All with 8 blocks of 64 channels, 500 epochs, batches of 2, weight decay 1e-5.
constexpr FlareRow flare_rows[] = {
    {"elasticity", 64, 8}, {"darcy", 256, 16}, {"airfoil_steady", 256, 8}, {"pipe", 128, 8}};

}  // namespace

void apply_defaults(Options& o, const Given& chosen) {
  const auto set = [&](const char* name, auto& field, auto value) {
    if (!chosen(name)) field = value;
  };
  set("epochs", o.epochs, 500);
  set("learning_rate", o.learning_rate, 1e-3);
  set("weight_decay", o.weight_decay, 1e-5);
  // A set of one's own may have samples of different sizes, which cannot share a batch.
  set("batch_size", o.batch_size, o.dataset.ends_with(".npz") ? 1 : 2);
  set("num_blocks", o.num_blocks, 8);
  set("clip_grad_norm", o.clip_grad_norm, 1.0);
  set("one_cycle_pct_start", o.one_cycle_pct_start, 0.1);
  set("one_cycle_final_div_factor", o.one_cycle_final_div_factor, 1e4);
  if (o.model_type == "transformer") {
    set("channel_dim", o.channel_dim, 80);
    set("num_heads", o.num_heads, 5);
    set("mlp_ratio", o.mlp_ratio, 4.0);
    set("one_cycle_div_factor", o.one_cycle_div_factor, 25.0);
    if (o.dataset == "pipe") set("opt_eps", o.opt_eps, 1e-6);
    return;
  }
  set("channel_dim", o.channel_dim, 64);
  set("one_cycle_div_factor", o.one_cycle_div_factor, 1e4);
  for (const FlareRow& row : flare_rows)
    if (o.dataset == row.dataset) {
      set("num_latents", o.num_latents, row.latents);
      set("num_heads", o.num_heads, row.heads);
    }
}

}  // namespace pdebench
