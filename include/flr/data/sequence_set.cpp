#include "flr/data/sequence_set.hpp"

#include <algorithm>
#include <cstring>

namespace flr::data {

namespace {

void widen(const Array& from, index_t row, std::int64_t* out) {
  const index_t n = from.extent(1);
  if (from.type() == ElementType::u8)
    std::copy_n(from.as<std::uint8_t>().data() + row * n, n, out);
  else
    std::copy_n(from.as<std::uint16_t>().data() + row * n, n, out);
}

Array select_rows(const Array& from, const std::vector<index_t>& rows) {
  const index_t n = from.extent(1);
  const auto bytes = static_cast<std::size_t>(n * size_of(from.type()));
  Array chosen = Array::uninitialized(from.type(), {static_cast<index_t>(rows.size()), n});
  std::byte* to = chosen.bytes().data();
  for (index_t row : rows) {
    std::memcpy(to, from.bytes().data() + static_cast<std::size_t>(row) * bytes, bytes);
    to += bytes;
  }
  return chosen;
}

void check_tokens(const Array& tokens, const std::vector<index_t>& lengths, const SequenceSet& set,
                  const std::string& where) {
  check(
      tokens.rank() == 2 && (tokens.type() == ElementType::u8 || tokens.type() == ElementType::u16),
      "{} expected tokens [samples, length] of one or two bytes; got {} {}", where,
      name_of(tokens.type()), shape_text(tokens.shape()));
  check(lengths.size() == static_cast<std::size_t>(tokens.extent(0)),
        "{} expected a length for each of {} sequences; got {}", where, tokens.extent(0),
        lengths.size());
  for (index_t n : lengths)
    check(n >= 0 && n <= tokens.extent(1), "{} expected lengths of 0 to {} tokens; got {}", where,
          tokens.extent(1), n);
  std::int64_t largest = -1;
  if (tokens.type() == ElementType::u8) {
    for (std::uint8_t t : tokens.as<std::uint8_t>()) largest = std::max<std::int64_t>(largest, t);
  } else {
    for (std::uint16_t t : tokens.as<std::uint16_t>()) largest = std::max<std::int64_t>(largest, t);
  }
  check(largest < set.vocabulary, "{} expected tokens below {}; got {}", where, set.vocabulary,
        largest);
}

}  // namespace

void SequenceSet::copy_tokens(index_t sample, std::int64_t* out) const {
  widen(tokens, sample, out);
}

void SequenceSet::copy_second(index_t sample, std::int64_t* out) const {
  widen(second, sample, out);
}

void SequenceSet::copy_labels(index_t sample, std::int64_t* out) const {
  const index_t n = token_labels ? length() : 1;
  std::copy_n(labels.data() + sample * n, n, out);
}

SequenceSet SequenceSet::select(const std::vector<index_t>& chosen) const {
  for (index_t s : chosen)
    check(s >= 0 && s < samples(), "[sequences] sample {} does not exist; there are {}", s,
          samples());
  SequenceSet set;
  set.token_labels = token_labels;
  set.classes = classes, set.vocabulary = vocabulary, set.pad = pad;
  set.tokens = select_rows(tokens, chosen);
  if (paired()) set.second = select_rows(second, chosen);
  const index_t n = token_labels ? length() : 1;
  for (index_t s : chosen) {
    set.lengths.push_back(lengths[static_cast<std::size_t>(s)]);
    if (paired()) set.second_lengths.push_back(second_lengths[static_cast<std::size_t>(s)]);
    set.labels.insert(set.labels.end(), labels.begin() + s * n, labels.begin() + (s + 1) * n);
  }
  return set;
}

ElementType token_type(index_t vocabulary) {
  check(vocabulary >= 1 && vocabulary <= 65536,
        "[sequences] expected a vocabulary of 1 to 65536 tokens; got {}", vocabulary);
  return vocabulary <= 256 ? ElementType::u8 : ElementType::u16;
}

void check_sequences(const SequenceSet& set, const std::string& where) {
  check(set.classes >= 2, "{} expected at least two classes; got {}", where, set.classes);
  check_tokens(set.tokens, set.lengths, set, where);
  check(set.pad >= 0 && set.pad < set.vocabulary, "{} expected a pad id below {}; got {}", where,
        set.vocabulary, set.pad);
  if (set.paired()) {
    check_tokens(set.second, set.second_lengths, set, where);
    check(set.second.shape() == set.tokens.shape(),
          "{} expected two documents of one shape; got {} and {}", where,
          shape_text(set.tokens.shape()), shape_text(set.second.shape()));
  }
  const index_t n = set.token_labels ? set.length() : 1;
  check(set.labels.size() == static_cast<std::size_t>(set.samples() * n),
        "{} expected {} labels; got {}", where, set.samples() * n, set.labels.size());
  for (std::int32_t label : set.labels)
    check((label >= 0 && label < set.classes) || (set.token_labels && label == ignored_label),
          "{} expected labels of 0 to {}; got {}", where, set.classes - 1, label);
}

bool has_padding(const SequenceTask& task) {
  for (const SequenceSet* set : {&task.train, &task.dev, &task.test})
    for (const auto* lengths : {&set->lengths, &set->second_lengths})
      for (index_t n : *lengths)
        if (n < set->length()) return true;
  return false;
}

}  // namespace flr::data
