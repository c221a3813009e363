// Small reasoning tasks, generated: multi-token association, and four of composition (function
// composition, binary and quotient relations, match3). Sources: Sanford, Hsu, Telgarsky,
// "Representational strengths and limitations of transformers", NeurIPS 2023 (match3); Kozachinskiy
// et al., "Strassen attention", 2025 (the other three).
#pragma once

#include "flr/data/sequence_set.hpp"

namespace flr::data {

/// Fifty blocks of five different letters; the query is two letters that only one block holds
/// together, and the label is that block. `q1 q2 # b1 . … . b50`: 302 tokens, a … z are 0 … 25, `.`
/// is 26, `#` 27.
struct MtaRecipe {
  index_t train = 1'000'000, dev = 1000;
  std::uint64_t train_seed = 42, dev_seed = 43;
};
SequenceTask generate_mta(const MtaRecipe& recipe = {});

/// The first nine tenths are the training split, the rest dev.
struct CompositionRecipe {
  index_t samples = 50'000;
  std::uint64_t seed = 42;
  /// The published generators as they are: quotient_relation without the colours in its input,
  /// match3 with its bins in order and copies of one draw in both splits.
  bool legacy = false;
};

/// n = 25 … 30 values below n; 1 where seq[seq[0]] = 0.
SequenceTask generate_function_composition(const CompositionRecipe& recipe = {});
/// A random directed graph on n = 6 … 8 nodes, cell by cell; a cell (i,j) is 1 where a path of two
/// edges leads from i to j.
SequenceTask generate_binary_relation(const CompositionRecipe& recipe = {});
/// The same with a colour for each node, in the diagonal cells (1 + colour); a cell (i,j), i ≠ j,
/// is 1 where edges lead from i and from j to two different nodes of one colour.
SequenceTask generate_quotient_relation(const CompositionRecipe& recipe = {});
/// n = 30 … 35 values of 1 … 36; a value is 1 where it and two others (repeats allowed) sum to a
/// multiple of 37.
SequenceTask generate_match3(const CompositionRecipe& recipe = {});

/// match3's labels of given values.
std::vector<std::int32_t> match3_labels(const std::vector<std::uint16_t>& values);

}  // namespace flr::data
