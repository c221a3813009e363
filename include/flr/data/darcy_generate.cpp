#include "flr/data/darcy_generate.hpp"

#include <exception>
#include <thread>

namespace flr::data {

DarcySampler::DarcySampler(const DarcySet& set)
    : set_(set), field_(set.recipe), solver_(set.recipe.grid, set.points()) {}

DarcySample DarcySampler::operator()(index_t sample) {
  const DarcyRecipe& recipe = set_.recipe;
  const std::vector<double> a = field_.coefficient(static_cast<std::uint64_t>(sample));
  DarcySample result;
  for (index_t i = 0; i < recipe.grid; i += set_.stride)
    for (index_t j = 0; j < recipe.grid; j += set_.stride)
      result.high.push_back(a[i * recipe.grid + j] == recipe.high);
  result.solution = solver_.solve(a, recipe.source);
  return result;
}

void generate_darcy(DarcyPart& part, int threads, const std::function<bool(index_t)>& progress) {
  check(threads >= 1, "[darcy] expected at least one thread; got {}", threads);
  std::vector<index_t> missing;
  for (index_t i = 0; i < part.set().samples; ++i)
    if (!part.has(i)) missing.push_back(i);

  std::mutex mutex;
  std::size_t next = 0;
  std::exception_ptr failure;
  const auto work = [&] {
    try {
      DarcySampler sampler(part.set());
      while (true) {
        index_t sample;
        {
          const std::scoped_lock lock(mutex);
          if (next >= missing.size()) return;
          sample = missing[next++];
        }
        part.append(sample, sampler(sample));
        const std::scoped_lock lock(mutex);
        if (!progress(part.count())) next = missing.size();
      }
    } catch (...) {
      const std::scoped_lock lock(mutex);
      if (!failure) failure = std::current_exception();
      next = missing.size();
    }
  };
  const auto count = std::min(static_cast<std::size_t>(threads), missing.size());
  {
    std::vector<std::jthread> others;
    for (std::size_t t = 1; t < count; ++t) others.emplace_back(work);
    if (count > 0) work();
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace flr::data
