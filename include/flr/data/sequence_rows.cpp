#include "flr/data/sequence_rows.hpp"

#include <algorithm>

namespace flr::data {

namespace {

template <class T>
void fill(SequenceSet& set, const std::vector<SequenceRow>& rows) {
  const index_t length = set.length();
  auto all = set.tokens.mutable_as<T>();
  std::fill(all.begin(), all.end(), static_cast<T>(set.pad));
  T* out = all.data();
  for (const SequenceRow& row : rows) {
    const index_t n = std::min(length, static_cast<index_t>(row.tokens.size()));
    for (index_t i = 0; i < n; ++i)
      out[i] = static_cast<T>(row.tokens[static_cast<std::size_t>(i)]);
    out += length;
  }
}

}  // namespace

index_t longest(const std::vector<SequenceRow>& rows) {
  std::size_t n = 0;
  for (const SequenceRow& row : rows) n = std::max(n, row.tokens.size());
  return static_cast<index_t>(n);
}

SequenceSet pack_rows(const std::vector<SequenceRow>& rows, const SequenceLayout& layout,
                      const std::string& where) {
  check(!rows.empty(), "{} expected at least one sequence", where);
  SequenceSet set;
  set.vocabulary = layout.vocabulary, set.classes = layout.classes, set.pad = layout.pad;
  set.token_labels = layout.token_labels;
  const index_t length = layout.length ? layout.length : longest(rows);
  const ElementType type = token_type(layout.vocabulary);
  set.tokens = Array::uninitialized(type, {static_cast<index_t>(rows.size()), length});
  type == ElementType::u8 ? fill<std::uint8_t>(set, rows) : fill<std::uint16_t>(set, rows);
  for (const SequenceRow& row : rows) {
    for (std::uint16_t token : row.tokens)
      check(token < layout.vocabulary, "{} expected tokens below {}; got {}", where,
            layout.vocabulary, token);
    const index_t n = std::min(length, static_cast<index_t>(row.tokens.size()));
    set.lengths.push_back(n);
    const std::size_t labels = layout.token_labels ? row.tokens.size() : 1;
    check(row.labels.size() == labels, "{} expected {} labels in a row; got {}", where, labels,
          row.labels.size());
    const auto kept = static_cast<std::ptrdiff_t>(layout.token_labels ? n : 1);
    set.labels.insert(set.labels.end(), row.labels.begin(), row.labels.begin() + kept);
    if (layout.token_labels)
      set.labels.insert(set.labels.end(), static_cast<std::size_t>(length - n), ignored_label);
  }
  check_sequences(set, where);
  return set;
}

std::vector<std::uint16_t> byte_tokens(std::string_view text, index_t most) {
  std::vector<std::uint16_t> tokens;
  for (char c : text.substr(0, static_cast<std::size_t>(most)))
    tokens.push_back(static_cast<std::uint16_t>(static_cast<unsigned char>(c) + 1));
  return tokens;
}

}  // namespace flr::data
