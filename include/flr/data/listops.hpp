// ListOps: nested lists of MIN, MAX, MED and SM over digits, and what they evaluate to.
// Source: Nangia and Bowman, "ListOps", NAACL SRW 2018; lengths as in Tay et al., "Long Range
// Arena", ICLR 2021.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "flr/data/sequence_set.hpp"

namespace flr::data {

/// Token ids: 0 pad, 1 … 10 the digits 0 … 9, then the opening operators and the one close. The
/// parentheses of the files carry nothing that these do not, and are dropped.
namespace listops {
inline constexpr std::uint8_t pad = 0, digit = 1, min = 11, max = 12, med = 13, sm = 14, close = 15;
inline constexpr index_t vocabulary = 16, classes = 10, length = 2000;
}  // namespace listops

/// The tokens of an expression as files print it: `( ( ( [MAX 4 ) 7 ) ] )`. Refuses a word that is
/// no token, with the word.
std::vector<std::uint8_t> listops_tokens(std::string_view text);

/// The left-nested binary tree that files print.
std::string listops_text(const std::vector<std::uint8_t>& tokens);

/// The value, 0 … 9: MED truncates the median, SM is the sum modulo 10. Refuses what is not one
/// closed expression.
int listops_value(const std::vector<std::uint8_t>& tokens);

struct ListopsRecipe {
  std::uint64_t seed = 0;
  index_t train = 96000, dev = 2000, test = 2000;
  int depth = 10;  ///< leaves only from here on; the root is at 1
  int most_arguments = 10;
  double operator_share = 0.25;
  index_t longer_than = 500, shorter_than = 2000;  ///< tokens, both strict
};

/// Draw `number` of the recipe, or nothing where its length is outside the bounds.
std::vector<std::uint8_t> draw_listops(const ListopsRecipe& recipe, std::uint64_t number);

struct ListopsExpressions {
  std::vector<std::vector<std::uint8_t>> kept;  ///< all different, in the order of their draws
  std::uint64_t draws = 0;                      ///< the number of draws that gave them
};

/// The first `count` different expressions, on num_threads() threads; `progress` is told how many
/// there are, and ends the work with an error by returning false.
ListopsExpressions generate_listops(const ListopsRecipe& recipe, index_t count,
                                    const std::function<bool(index_t)>& progress = {});

/// Expressions as a set: padded or cut to `length` tokens.
SequenceSet listops_set(const std::vector<std::vector<std::uint8_t>>& expressions,
                        const std::vector<std::int32_t>& values, index_t length = listops::length);

}  // namespace flr::data
