#include "flr/data/reasoning.hpp"

#include <algorithm>
#include <array>
#include <functional>
#include <numeric>

#include "flr/core/parallel.hpp"
#include "flr/data/sample_stream.hpp"
#include "flr/data/sequence_rows.hpp"

namespace flr::data {

namespace {

using Draw = SequenceRow (*)(SampleStream&, bool legacy);

SequenceTask make(const char* name, const CompositionRecipe& recipe, const SequenceLayout& layout,
                  Draw draw) {
  check(recipe.samples >= 10, "[{}] expected at least 10 samples; got {}", name, recipe.samples);
  std::vector<SequenceRow> rows(static_cast<std::size_t>(recipe.samples));
  parallel_ranges(recipe.samples, 256, [&](index_t begin, index_t end) {
    for (index_t i = begin; i < end; ++i) {
      SampleStream random(recipe.seed, static_cast<std::uint64_t>(i));
      rows[static_cast<std::size_t>(i)] = draw(random, recipe.legacy);
    }
  });
  SequenceLayout both = layout;
  both.length = longest(rows);
  const auto cut = rows.begin() + static_cast<std::ptrdiff_t>(recipe.samples * 9 / 10);
  const std::string where = fmt::format("[{}]", name);
  SequenceTask task{name,
                    pack_rows({rows.begin(), cut}, both, where),
                    pack_rows({cut, rows.end()}, both, where),
                    {},
                    true};
  return task;
}

SequenceRow draw_composition(SampleStream& random, bool) {
  const std::int64_t n = random.between(25, 30);
  SequenceRow row;
  for (std::int64_t i = 0; i < n; ++i)
    row.tokens.push_back(static_cast<std::uint16_t>(random.below(n)));
  const bool label = random.below(2) == 1;
  row.labels = {label};
  std::uint16_t& reached = row.tokens[row.tokens[0]];
  if (label) {
    reached = 0;
    return row;
  }
  // The index is not 0 either: as a value it must not be the 0 that the label asks for.
  std::vector<std::uint16_t> nonzero;
  for (std::int64_t i = 1; i < n; ++i)
    if (row.tokens[static_cast<std::size_t>(i)] != 0)
      nonzero.push_back(static_cast<std::uint16_t>(i));
  if (nonzero.empty()) return draw_composition(random, false);
  reached =
      nonzero[static_cast<std::size_t>(random.below(static_cast<std::int64_t>(nonzero.size())))];
  return row;
}

SequenceRow draw_graph(SampleStream& random, std::size_t& n, double edge_share, bool loops) {
  n = static_cast<std::size_t>(random.between(6, 8));
  SequenceRow row;
  for (std::size_t cell = 0; cell < n * n; ++cell) {
    const bool edge = random.chance(edge_share);
    row.tokens.push_back(edge && (loops || cell / n != cell % n));
  }
  return row;
}

SequenceRow draw_binary_relation(SampleStream& random, bool) {
  std::size_t n = 0;
  SequenceRow row = draw_graph(random, n, 0.325, true);
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j < n; ++j) {
      std::int32_t label = 0;
      for (std::size_t u = 0; u < n; ++u) label |= row.tokens[i * n + u] & row.tokens[u * n + j];
      row.labels.push_back(label);
    }
  return row;
}

SequenceRow draw_quotient_relation(SampleStream& random, bool legacy) {
  std::size_t n = 0;
  SequenceRow row = draw_graph(random, n, 0.433, false);
  std::array<std::int64_t, 8> colour{};
  for (std::size_t u = 0; u < n; ++u) colour[u] = random.between(1, static_cast<std::int64_t>(n));
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j < n; ++j) {
      bool label = false;
      for (std::size_t u = 0; u < n; ++u)
        for (std::size_t v = 0; v < n; ++v)
          label |= u != v && colour[u] == colour[v] && row.tokens[i * n + u] == 1 &&
                   row.tokens[j * n + v] == 1;
      row.labels.push_back(i == j ? ignored_label : label);
    }
  if (!legacy)
    for (std::size_t u = 0; u < n; ++u)
      row.tokens[u * n + u] = static_cast<std::uint16_t>(1 + colour[u]);
  return row;
}

using Block = std::array<std::uint8_t, 5>;

Block draw_block(SampleStream& random) {
  std::array<std::uint8_t, 26> letters;
  std::iota(letters.begin(), letters.end(), std::uint8_t{0});
  Block block;
  for (std::size_t i = 0; i < block.size(); ++i) {
    const auto pick = i + static_cast<std::size_t>(random.below(static_cast<std::int64_t>(26 - i)));
    std::swap(letters[i], letters[pick]);
    block[i] = letters[i];
  }
  return block;
}

SequenceSet mta_set(std::uint64_t seed, index_t count) {
  constexpr index_t blocks = 50, length = 302;
  constexpr std::uint8_t dot = 26, hash = 27;
  check(count >= 1, "[mta] expected at least one sample; got {}", count);
  SequenceSet set;
  set.vocabulary = 29, set.classes = blocks, set.pad = 28;
  set.tokens = Array::uninitialized(ElementType::u8, {count, length});
  set.lengths.assign(static_cast<std::size_t>(count), length);
  set.labels.resize(static_cast<std::size_t>(count));
  std::uint8_t* all = set.tokens.mutable_as<std::uint8_t>().data();
  parallel_ranges(count, 256, [&](index_t begin, index_t end) {
    for (index_t s = begin; s < end; ++s) {
      SampleStream random(seed, static_cast<std::uint64_t>(s));
      const std::int64_t target = random.below(blocks);
      set.labels[static_cast<std::size_t>(s)] = static_cast<std::int32_t>(target);
      Block wanted = draw_block(random);  // in random order, so the query is its first two
      const std::uint8_t q1 = wanted[0], q2 = wanted[1];
      std::uint8_t* out = all + s * length;
      *out++ = q1, *out++ = q2, *out++ = hash;
      for (std::int64_t b = 0; b < blocks; ++b) {
        Block block = wanted;
        if (b != target) {
          do block = draw_block(random);
          while (std::ranges::count(block, q1) + std::ranges::count(block, q2) == 2);
        }
        random.shuffle(block);
        out = std::copy(block.begin(), block.end(), out);
        if (b + 1 < blocks) *out++ = dot;
      }
    }
  });
  check_sequences(set, "[mta]");
  return set;
}

}  // namespace

SequenceTask generate_mta(const MtaRecipe& recipe) {
  return {"mta",
          mta_set(recipe.train_seed, recipe.train),
          mta_set(recipe.dev_seed, recipe.dev),
          {},
          true};
}

SequenceTask generate_function_composition(const CompositionRecipe& recipe) {
  return make("function_composition", recipe, {.vocabulary = 31, .classes = 2, .pad = 30},
              draw_composition);
}

SequenceTask generate_binary_relation(const CompositionRecipe& recipe) {
  return make("binary_relation", recipe,
              {.vocabulary = 3, .classes = 2, .pad = 2, .token_labels = true},
              draw_binary_relation);
}

SequenceTask generate_quotient_relation(const CompositionRecipe& recipe) {
  const index_t pad = recipe.legacy ? 2 : 10;  // colours 1 … 8 are tokens 2 … 9
  return make("quotient_relation", recipe,
              {.vocabulary = pad + 1, .classes = 2, .pad = pad, .token_labels = true},
              draw_quotient_relation);
}

}  // namespace flr::data
