#include "groups.hpp"

#include <fmt/core.h>

#include <algorithm>

namespace program {

using namespace flr;

namespace {

// blocks.3.att.k_proj.fcs.1.weight → blocks.*.att.k_proj.fcs.*.weight
std::string pattern_of(const std::string& name) {
  std::string text;
  for (std::size_t i = 0; i < name.size(); ++i) {
    const bool digit = name[i] >= '0' && name[i] <= '9';
    if (digit && !text.empty() && (text.back() == '.' || text.back() == '*')) {
      if (text.back() == '.') text += '*';
    } else {
      text += name[i];
    }
  }
  return text;
}

// Words in lines of at most 100 characters, indented.
std::string wrapped(const std::vector<std::string>& words) {
  std::string text, line = "   ";
  for (const std::string& word : words) {
    if (line.size() + 1 + word.size() > 100) {
      text += line + '\n';
      line = "   ";
    }
    line += ' ' + word;
  }
  return text + line + '\n';
}

}  // namespace

void print_groups(const RunOptions& o, optim::Optimizer<float>& optimizer) {
  const optim::GroupOptions groups{.legacy = o.decay_latents};
  const auto& entries = optimizer.arena().entries;
  for (int g = 0; g < static_cast<int>(optim::Group::count); ++g) {
    const auto group = static_cast<optim::Group>(g);
    std::vector<std::string> patterns;
    index_t values = 0, tensors = 0;
    for (const auto& e : entries) {
      if (optim::group_of(e.name, e.role, groups) != group) continue;
      ++tensors, values += e.numel;
      const std::string p = pattern_of(e.name);
      if (std::find(patterns.begin(), patterns.end(), p) == patterns.end()) patterns.push_back(p);
    }
    if (tensors == 0) continue;
    fmt::print("group      {}: {} parameters in {} tensors, weight decay {:g}\n{}",
               optim::name_of(group), values, tensors,
               group == optim::Group::decay ? o.weight_decay : 0.0, wrapped(patterns));
  }
}

}  // namespace program
