#include "recompute.hpp"

#include <algorithm>

#include "flr/core/memory.hpp"

namespace pdebench {

using namespace flr;

namespace {

// Values per point that one block of FLARE keeps for backward: in its MLPs (the pre-activations),
// and elsewhere (the input and its norm, keys, values, the mixed tokens, the sum and its norm).
struct Kept {
  double mlps = 0, others = 0;
};

Kept kept_per_point(const Options& o) {
  const double c = static_cast<double>(o.channel_dim);
  const auto mlp = [&](std::int64_t layers, double ratio) {
    return static_cast<double>(std::max<std::int64_t>(layers, 0) + 1) * ratio * c;
  };
  if (o.model_type == "transformer") return {2 * o.mlp_ratio * c, 9 * c};
  const bool ablations = o.model_type == "flare_ablations";
  const std::int64_t k = ablations ? o.num_layers_kv_proj : o.num_layers_k_proj;
  const std::int64_t v = ablations ? o.num_layers_kv_proj : o.num_layers_v_proj;
  const double k_ratio = ablations ? o.kv_proj_mlp_ratio : o.k_proj_mlp_ratio;
  const double v_ratio = ablations ? o.kv_proj_mlp_ratio : o.v_proj_mlp_ratio;
  return {mlp(k, k_ratio) + mlp(v, v_ratio) + mlp(o.num_layers_ffn, o.ffn_mlp_ratio), 9 * c};
}

}  // namespace

std::string choose_recompute(const Options& o, const data::PointSet& train,
                             models::Model<float>& model) {
  using models::Recompute;
  index_t points = 0;
  for (index_t i = 0; i < train.samples(); ++i) points = std::max(points, train.points(i));
  const double values = static_cast<double>(points * o.batch_size) * (o.bf16() ? 2 : 4);
  const Kept kept = kept_per_point(o);
  const double blocks = static_cast<double>(o.num_blocks), c = static_cast<double>(o.channel_dim);
  // Whatever is recomputed is there in full for one block at a time.
  const double one = kept.mlps + kept.others;
  const double need[] = {values * blocks * one, values * (blocks * kept.others + kept.mlps),
                         values * (blocks * c + one)};

  int choice = 0;
  if (o.recompute == "mlp") choice = 1;
  if (o.recompute == "block") choice = 2;
  if (o.recompute == "auto" && o.device == "cuda" && detail::require_cuda().free_memory) {
    // The other half: gradients on their way, working memory, blocks of other sizes.
    const double room = 0.5 * static_cast<double>(detail::require_cuda().free_memory());
    while (choice < 2 && need[choice] > room) ++choice;
  }
  model.set_recompute(static_cast<Recompute>(choice));
  constexpr const char* names[] = {"nothing", "MLPs", "blocks"};
  return fmt::format("backward   recomputes {}; keeps about {} a batch", names[choice],
                     human_bytes(static_cast<index_t>(need[choice])));
}

}  // namespace pdebench
