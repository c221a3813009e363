#include <string>
#include <unordered_set>

#include "flr/core/parallel.hpp"
#include "flr/data/listops.hpp"
#include "flr/data/sample_stream.hpp"

namespace flr::data {

namespace {

// Adds a subtree; false once the whole is too long to be kept: lengths only grow, so the rest of
// what may be a very large tree need not be drawn.
bool draw_tree(const ListopsRecipe& recipe, SampleStream& random, int depth,
               std::vector<std::uint8_t>& tokens) {
  if (static_cast<index_t>(tokens.size()) >= recipe.shorter_than) return false;
  if (depth >= recipe.depth || random.uniform() >= recipe.operator_share) {
    tokens.push_back(static_cast<std::uint8_t>(listops::digit + random.below(10)));
    return true;
  }
  const std::int64_t arguments = random.between(2, recipe.most_arguments);
  tokens.push_back(static_cast<std::uint8_t>(listops::min + random.below(4)));
  for (std::int64_t i = 0; i < arguments; ++i)
    if (!draw_tree(recipe, random, depth + 1, tokens)) return false;
  tokens.push_back(listops::close);
  return true;
}

void check_recipe(const ListopsRecipe& recipe) {
  check(recipe.depth >= 2 && recipe.depth <= 100, "[listops] expected a depth of 2 to 100; got {}",
        recipe.depth);
  check(recipe.most_arguments >= 2 && recipe.most_arguments <= 100,
        "[listops] expected at most 2 to 100 arguments; got {}", recipe.most_arguments);
  check(recipe.longer_than >= 0 && recipe.longer_than + 1 < recipe.shorter_than,
        "[listops] expected lengths between two bounds; got {} and {}", recipe.longer_than,
        recipe.shorter_than);
}

}  // namespace

std::vector<std::uint8_t> draw_listops(const ListopsRecipe& recipe, std::uint64_t number) {
  SampleStream random(recipe.seed, number);
  std::vector<std::uint8_t> tokens;
  const bool whole = draw_tree(recipe, random, 1, tokens);
  const auto n = static_cast<index_t>(tokens.size());
  if (!whole || n <= recipe.longer_than || n >= recipe.shorter_than) tokens.clear();
  return tokens;
}

ListopsExpressions generate_listops(const ListopsRecipe& recipe, index_t count,
                                    const std::function<bool(index_t)>& progress) {
  check_recipe(recipe);
  constexpr index_t round = 4096, grain = 64;
  // Where the bounds leave (nearly) nothing the search would never end.
  constexpr std::uint64_t most_draws_each = 2000;
  ListopsExpressions result;
  std::unordered_set<std::string> seen;
  std::vector<std::vector<std::uint8_t>> drawn(round);
  for (std::uint64_t first = 0; static_cast<index_t>(result.kept.size()) < count; first += round) {
    check(first <= most_draws_each * static_cast<std::uint64_t>(count),
          "[listops] {} draws gave only {} different expressions of {} to {} tokens", first,
          result.kept.size(), recipe.longer_than + 1, recipe.shorter_than - 1);
    parallel_ranges(round, grain, [&](index_t begin, index_t end) {
      for (index_t i = begin; i < end; ++i)
        drawn[static_cast<std::size_t>(i)] =
            draw_listops(recipe, first + static_cast<std::uint64_t>(i));
    });
    for (index_t i = 0; i < round && static_cast<index_t>(result.kept.size()) < count; ++i) {
      auto& tokens = drawn[static_cast<std::size_t>(i)];
      result.draws = first + static_cast<std::uint64_t>(i) + 1;
      if (tokens.empty() || !seen.emplace(tokens.begin(), tokens.end()).second) continue;
      result.kept.push_back(std::move(tokens));
    }
    if (progress && !progress(static_cast<index_t>(result.kept.size())))
      fail("[listops] stopped after {} of {} expressions", result.kept.size(), count);
  }
  return result;
}

}  // namespace flr::data
