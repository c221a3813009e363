#include "summary.hpp"

#include <fmt/ranges.h>

#include <algorithm>

#include "flr/core/parallel.hpp"
#include "machine.hpp"

namespace pdebench {

using namespace flr;

namespace {

std::string shape_of(const data::PointSet& set) {
  index_t least = set.points(0), most = least;
  for (index_t i = 0; i < set.samples(); ++i) {
    least = std::min(least, set.points(i));
    most = std::max(most, set.points(i));
  }
  const std::string points =
      least == most ? fmt::format("{}", most) : fmt::format("{} to {}", least, most);
  const std::string grid = set.grid.empty() ? "" : fmt::format(" ({})", fmt::join(set.grid, " x "));
  return fmt::format("{} samples of {} points{}", set.samples(), points, grid);
}

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

void print_summary(const Options& o, const data::Dataset& set, models::Model<float>& model) {
  const std::string name = o.dataset + (set.derivative_loss ? ", derivatives in the loss" : "");
  fmt::print("data       {}: {} train, {} test, {} inputs and {} outputs a point\n", name,
             shape_of(set.train), shape_of(set.test), set.train.c_in, set.train.c_out);
  fmt::print("model      {}: {} parameters; {} blocks of {} channels, {} heads", o.model_type,
             model.num_parameters(), o.num_blocks, o.channel_dim, o.num_heads);
  if (o.model_type != "transformer") fmt::print(", {} latents", o.num_latents);
  fmt::print("\nmachine    {}\n", describe_machine(o));
}

void print_groups(const Options& o, optim::Optimizer<float>& optimizer) {
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

}  // namespace pdebench
