#include <algorithm>
#include <array>
#include <bitset>
#include <numeric>

#include "flr/core/parallel.hpp"
#include "flr/data/reasoning.hpp"
#include "flr/data/sample_stream.hpp"
#include "flr/data/sequence_rows.hpp"

namespace flr::data {

namespace {

constexpr std::int64_t modulus = 37;
constexpr std::size_t bins = 4;

std::size_t ones(const std::vector<std::uint16_t>& values) {
  return static_cast<std::size_t>(std::ranges::count(match3_labels(values), 1));
}

// Tenths of ones: 0 to 0.1, …, and 0.3 or more.
std::size_t bin_of(const std::vector<std::uint16_t>& values) {
  return std::min(10 * ones(values) / values.size(), bins - 1);
}

// Independent values give nearly only ones, so values are taken one by one where the share of ones
// stays within the target and a zero is left. A copy of a value that is zero stays zero and is
// always possible.
std::vector<std::uint16_t> draw_values(SampleStream& random) {
  const auto n = static_cast<std::size_t>(random.between(30, 35));
  const double target = 0.01 * static_cast<double>(random.between(1, 39));
  std::vector<std::uint16_t> values{static_cast<std::uint16_t>(random.between(1, modulus - 1))};
  while (values.size() < n) {
    values.push_back(0);
    bool found = false;
    for (int trial = 0; trial < 20 && !found; ++trial) {
      values.back() = static_cast<std::uint16_t>(random.between(1, modulus - 1));
      const std::size_t count = ones(values);
      found =
          count < values.size() && static_cast<double>(count) <= target * static_cast<double>(n);
    }
    if (found) continue;
    values.pop_back();
    const auto labels = match3_labels(values);
    std::vector<std::uint16_t> zeros;
    for (std::size_t i = 0; i < values.size(); ++i)
      if (labels[i] == 0) zeros.push_back(values[i]);
    values.push_back(
        zeros[static_cast<std::size_t>(random.below(static_cast<std::int64_t>(zeros.size())))]);
  }
  random.shuffle(values);
  return values;
}

using Values = std::vector<std::uint16_t>;

// `count` sequences: the draws themselves and then permuted copies of them, in turn.
void fill(std::vector<SequenceRow>& rows, std::span<const Values> draws, index_t count,
          std::uint64_t seed, std::uint64_t purpose) {
  for (index_t i = 0; i < count; ++i) {
    Values values = draws[static_cast<std::size_t>(i) % draws.size()];
    if (static_cast<std::size_t>(i) >= draws.size()) {
      SampleStream random(seed, static_cast<std::uint64_t>(i), purpose);
      random.shuffle(values);
    }
    auto labels = match3_labels(values);
    rows.push_back({std::move(values), std::move(labels)});
  }
}

}  // namespace

std::vector<std::int32_t> match3_labels(const std::vector<std::uint16_t>& values) {
  std::bitset<modulus> present, pairs;
  for (auto v : values) present.set(v % modulus);
  for (std::size_t a = 0; a < modulus; ++a)
    for (std::size_t b = 0; b < modulus; ++b)
      if (present[a] && present[b]) pairs.set((a + b) % modulus);
  std::vector<std::int32_t> labels;
  for (auto v : values)
    labels.push_back(pairs[static_cast<std::size_t>((modulus - v % modulus) % modulus)]);
  return labels;
}

SequenceTask generate_match3(const CompositionRecipe& recipe) {
  check(recipe.samples >= 400, "[match3] expected at least 400 samples; got {}", recipe.samples);
  const index_t draws = recipe.samples / 10, each = recipe.samples / static_cast<index_t>(bins);
  std::vector<Values> drawn(static_cast<std::size_t>(draws));
  parallel_ranges(draws, 64, [&](index_t begin, index_t end) {
    for (index_t i = begin; i < end; ++i) {
      SampleStream random(recipe.seed, static_cast<std::uint64_t>(i));
      drawn[static_cast<std::size_t>(i)] = draw_values(random);
    }
  });
  std::array<std::vector<Values>, bins> by_share;
  for (Values& values : drawn) {
    auto& bin = by_share[bin_of(values)];
    bin.push_back(std::move(values));
  }
  std::vector<SequenceRow> train, dev;
  for (std::size_t b = 0; b < bins; ++b) {
    const std::span<const Values> bin = by_share[b];
    check(bin.size() >= 10, "[match3] expected at least 10 draws in each bin of shares; got {}",
          bin.size());
    if (recipe.legacy) {
      fill(train, bin, each, recipe.seed, 1 + b);
      continue;
    }
    const std::size_t cut = bin.size() - bin.size() / 10;
    fill(train, bin.first(cut), each - each / 10, recipe.seed, 1 + b);
    fill(dev, bin.subspan(cut), each / 10, recipe.seed, 1 + bins + b);
  }
  if (recipe.legacy) {
    const auto nine_tenths = train.begin() + static_cast<std::ptrdiff_t>(train.size() * 9 / 10);
    dev.assign(nine_tenths, train.end());
    train.erase(nine_tenths, train.end());
  } else {
    SampleStream random(recipe.seed, 0, 1 + 2 * bins);
    random.shuffle(train);
    random.shuffle(dev);
  }
  SequenceLayout layout{
      .vocabulary = modulus + 1, .classes = 2, .pad = modulus, .length = 35, .token_labels = true};
  return {
      "match3", pack_rows(train, layout, "[match3]"), pack_rows(dev, layout, "[match3]"), {}, true};
}

}  // namespace flr::data
