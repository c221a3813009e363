// Parameter groups: which parameters decay, which do not.
#pragma once

#include <string>
#include <vector>

#include "flr/nn.hpp"

namespace flr::optim {

/// decay: matrices; no_decay: biases, norms and embeddings; latent: FLARE's latents.
enum class Group : unsigned char { decay, no_decay, latent, count };

inline const char* name_of(Group group) {
  constexpr const char* names[] = {"decay", "no decay", "latent"};
  return names[static_cast<int>(group)];
}

struct GroupOptions {
  /// The reference means to give latents a group of their own, but matches none: they decay. With
  /// this switch they are in `decay`, as in its published runs.
  bool legacy = false;
};

/// The group of a parameter, by role and by name (names matter for models of the reference, whose
/// positional and class embeddings are bare parameters).
inline Group group_of(const std::string& name, nn::Role role, GroupOptions options = {}) {
  const auto has = [&](const char* part) { return name.find(part) != std::string::npos; };
  if (role == nn::Role::latent) return options.legacy ? Group::decay : Group::latent;
  if (role == nn::Role::norm || role == nn::Role::bias || role == nn::Role::embedding)
    return Group::no_decay;
  if (name.ends_with("bias") || has("LayerNorm") || has("RMSNorm") || has("embed") ||
      has("cls_token"))
    return Group::no_decay;
  return Group::decay;
}

/// The ranges of an arena that belong to each group, neighbours joined.
template <Floating T>
struct GroupRanges {
  std::vector<ArenaRange> ranges[static_cast<int>(Group::count)];

  GroupRanges(const nn::Arena<T>& arena, GroupOptions options) {
    for (const auto& e : arena.entries) {
      auto& list = ranges[static_cast<int>(group_of(e.name, e.role, options))];
      if (!list.empty() && list.back().end == e.offset) list.back().end = e.offset + e.numel;
      else list.push_back({e.offset, e.offset + e.numel});
    }
  }
};

}  // namespace flr::optim
