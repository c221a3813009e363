// Sequences of different lengths on their way into a set.
#pragma once

#include <string>

#include "flr/data/sequence_set.hpp"

namespace flr::data {

struct SequenceRow {
  std::vector<std::uint16_t> tokens;
  std::vector<std::int32_t> labels;  ///< one, or one for each token
};

/// What a set says of all its sequences; `length` 0 takes the longest.
struct SequenceLayout {
  index_t vocabulary = 0, classes = 0, pad = 0, length = 0;
  bool token_labels = false;
};

/// Pads or cuts each row to the layout's length; token labels in the padding are ignored ones.
SequenceSet pack_rows(const std::vector<SequenceRow>& rows, const SequenceLayout& layout,
                      const std::string& where);

/// Bytes as tokens: id = byte + 1, 0 is the pad (Long Range Arena's text tasks).
inline constexpr index_t byte_vocabulary = 257;
std::vector<std::uint16_t> byte_tokens(std::string_view text, index_t most);

/// The longest row.
index_t longest(const std::vector<SequenceRow>& rows);

}  // namespace flr::data
