#include "summary.hpp"

#include <fmt/ranges.h>

#include <algorithm>

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

}  // namespace

void print_summary(const Options& o, const data::Dataset& set, models::Model<float>& model) {
  const std::string name = o.dataset + (set.derivative_loss ? ", derivatives in the loss" : "");
  fmt::print("data       {}: {} train, {} test, {} inputs and {} outputs a point\n", name,
             shape_of(set.train), shape_of(set.test), set.train.c_in, set.train.c_out);
  fmt::print("model      {}: {} parameters; {} blocks of {} channels, {} heads", o.model_type,
             model.num_parameters(), o.num_blocks, o.channel_dim, o.num_heads);
  if (o.model_type != "transformer") fmt::print(", {} latents", o.num_latents);
  fmt::print("\nmachine    {}\n", program::describe_machine(o));
}

}  // namespace pdebench
