#include "recompute.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <fstream>
#include <limits>

#include "flr/core/random.hpp"
#include "flr/graph/backward.hpp"

namespace pdebench {

using namespace flr;
using models::Recompute;

namespace {

constexpr std::array choices{Recompute::none, Recompute::mlp, Recompute::block};

index_t largest_sample(const data::PointSet& set) {
  index_t points = 0;
  for (index_t i = 0; i < set.samples(); ++i) points = std::max(points, set.points(i));
  return points;
}

// The bytes that forward and backward add, at most, for x [1, points, c_in].
double peak_of(models::Model<float>& model, const data::PointSet& train, index_t points) {
  const Device device = model.device();
  const std::size_t values = static_cast<std::size_t>(points * train.c_in);
  const std::vector<float> some(train.x.begin(), train.x.begin() + std::ptrdiff_t(values));
  Pool& memory = pool(device);
  memory.reset_peak();
  const index_t before = memory.stats().active;
  const Tensor<float> x = from_vector(some, {1, points, train.c_in}, device);
  const Tensor<float> y = model.apply(x);
  backward(y, ones<float>(y.shape(), device));
  return static_cast<double>(memory.stats().peak - before);
}

double within_limit_of_process() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
    return std::numeric_limits<double>::infinity();
  double pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  return static_cast<double>(limit.rlim_cur) - pages * static_cast<double>(::sysconf(_SC_PAGESIZE));
}

double available_on_host() {
  std::ifstream file("/proc/meminfo");
  std::string name, rest;
  for (double kib = 0; file >> name >> kib; std::getline(file, rest))
    if (name == "MemAvailable:") return 1024 * kib;
  return std::numeric_limits<double>::infinity();
}

std::string bytes_text(double bytes) {
  return human_bytes(static_cast<index_t>(bytes));
}

}  // namespace

std::array<double, 3> activation_bytes(models::Model<float>& model, const data::PointSet& train,
                                       index_t batch_size) {
  const auto first = static_cast<std::uint64_t>(train.points(0));
  // Powers of two, so that the pool rounds both measurements alike.
  const auto few = static_cast<index_t>(std::min<std::uint64_t>(std::bit_floor(first), 4096));
  const double all = static_cast<double>(largest_sample(train) * batch_size);
  const RandomState draws = random_state();
  model.train();
  std::array<double, 3> bytes{};
  peak_of(model, train, few);  // whatever the first call prepares is not the step's
  for (const Recompute choice : choices) {
    model.set_recompute(choice);
    const double n = static_cast<double>(few), whole = peak_of(model, train, few);
    const double half = few > 1 ? peak_of(model, train, few / 2) : whole / 2;
    const double slope = (whole - half) / (n - static_cast<double>(few / 2));
    bytes[static_cast<std::size_t>(choice)] = std::max(whole, whole + slope * (all - n));
  }
  random_state() = draws;
  pool(model.device()).trim();
  pool(model.device()).reset_peak();
  return bytes;
}

double free_bytes(Device device) {
  if (device.is_cpu())
    return std::max(0.0, std::min(available_on_host(), within_limit_of_process()));
  const auto ask = detail::require_cuda().free_memory;
  return ask ? static_cast<double>(ask()) : std::numeric_limits<double>::infinity();
}

Recompute least_recompute(const std::array<double, 3>& need, double free) {
  for (const Recompute choice : choices)
    if (need[static_cast<std::size_t>(choice)] <= 0.8 * free) return choice;
  return Recompute::block;
}

std::string choose_recompute(const Options& o, const data::PointSet& train,
                             models::Model<float>& model) {
  constexpr std::array names{"nothing", "MLPs", "blocks"};
  const std::array<double, 3> need = activation_bytes(model, train, o.batch_size);
  const double free = free_bytes(model.device());
  Recompute choice = least_recompute(need, free);
  if (o.recompute == "none") choice = Recompute::none;
  if (o.recompute == "mlp") choice = Recompute::mlp;
  if (o.recompute == "block") choice = Recompute::block;
  model.set_recompute(choice);

  const auto chosen = static_cast<std::size_t>(choice);
  std::string text = fmt::format(
      "backward   recomputes {}; a batch of {} x {} points, {} free on {}\n", names[chosen],
      o.batch_size, largest_sample(train),
      free < std::numeric_limits<double>::infinity() ? bytes_text(free) : "unknown memory",
      model.device().str());
  const double values = static_cast<double>(o.batch_size * largest_sample(train));
  text += fmt::format("  {:<34} {:>12}\n", "its data",
                      bytes_text(4 * values * static_cast<double>(train.c_in + train.c_out)));
  for (std::size_t i = 0; i < need.size(); ++i)
    text += fmt::format("  {:<34} {:>12}{}\n", fmt::format("activations, {} recomputed", names[i]),
                        bytes_text(need[i]), i == chosen ? "   (about; chosen)" : "");
  if (need[chosen] > free)
    text += "  this may be more than there is; a smaller batch or model needs less\n";
  return text;
}

}  // namespace pdebench
