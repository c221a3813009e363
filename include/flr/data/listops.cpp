#include "flr/data/listops.hpp"

#include <algorithm>
#include <array>

namespace flr::data {

namespace {

constexpr std::array<std::string_view, 4> operators{"[MIN", "[MAX", "[MED", "[SM"};

bool is_operator(std::uint8_t token) {
  return token >= listops::min && token <= listops::sm;
}
bool is_digit(std::uint8_t token) {
  return token >= listops::digit && token < listops::digit + 10;
}

int apply(std::uint8_t op, std::vector<std::uint8_t>::iterator begin,
          std::vector<std::uint8_t>::iterator end) {
  const auto n = end - begin;
  if (op == listops::min) return *std::min_element(begin, end);
  if (op == listops::max) return *std::max_element(begin, end);
  if (op == listops::sm) {
    int sum = 0;
    for (auto it = begin; it != end; ++it) sum += *it;
    return sum % 10;
  }
  std::sort(begin, end);
  return n % 2 ? begin[n / 2] : (begin[n / 2 - 1] + begin[n / 2]) / 2;
}

}  // namespace

std::vector<std::uint8_t> listops_tokens(std::string_view text) {
  std::vector<std::uint8_t> tokens;
  for (std::size_t at = 0; at < text.size();) {
    if (text[at] == ' ') {
      ++at;
      continue;
    }
    const std::string_view word = text.substr(at, text.find(' ', at) - at);
    at += word.size();
    if (word == "(" || word == ")") continue;
    const auto op = std::find(operators.begin(), operators.end(), word);
    if (op != operators.end())
      tokens.push_back(static_cast<std::uint8_t>(listops::min + (op - operators.begin())));
    else if (word == "]" || word == "X")
      tokens.push_back(listops::close);
    else if (word.size() == 1 && word[0] >= '0' && word[0] <= '9')
      tokens.push_back(static_cast<std::uint8_t>(listops::digit + (word[0] - '0')));
    else
      fail("[listops] expected a digit, an operator, ']' or a parenthesis; got '{:.20}'", word);
  }
  return tokens;
}

std::string listops_text(const std::vector<std::uint8_t>& tokens) {
  // Every argument and the close open one parenthesis before the operator, which comes first in
  // the text: count them.
  std::vector<std::size_t> open, arguments(tokens.size());
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (!open.empty() && tokens[i] != listops::close) ++arguments[open.back()];
    if (is_operator(tokens[i])) open.push_back(i);
    if (tokens[i] == listops::close) {
      check(!open.empty(), "[listops] token {} closes a list that was never opened", i);
      open.pop_back();
    }
  }
  check(open.empty(), "[listops] expected a closed expression; got {} open lists", open.size());
  std::string text;
  const auto add = [&](std::string_view word) {
    if (!text.empty()) text += ' ';
    text += word;
  };
  std::size_t depth = 0;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const std::uint8_t token = tokens[i];
    if (is_operator(token)) {
      for (std::size_t p = 0; p <= arguments[i]; ++p) add("(");
      add(operators[token - listops::min]);
      ++depth;
      continue;
    }
    if (token == listops::close) {
      add("]");
      add(")");
      --depth;
    } else {
      check(is_digit(token), "[listops] expected a token of 1 to 15; got {}", token);
      add(std::string(1, static_cast<char>('0' + token - listops::digit)));
    }
    if (depth > 0) add(")");  // the value is an argument of the list around it
  }
  return text;
}

int listops_value(const std::vector<std::uint8_t>& tokens) {
  std::vector<std::uint8_t> values;
  std::vector<std::pair<std::uint8_t, std::size_t>> open;  // operator, where its values begin
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const std::uint8_t token = tokens[i];
    check(i == 0 || !open.empty(), "[listops] expected one expression; got more after token {}", i);
    if (is_digit(token)) {
      values.push_back(static_cast<std::uint8_t>(token - listops::digit));
    } else if (is_operator(token)) {
      open.emplace_back(token, values.size());
    } else {
      check(token == listops::close, "[listops] expected a token of 1 to 15; got {}", token);
      check(!open.empty(), "[listops] token {} closes a list that was never opened", i);
      const auto [op, begin] = open.back();
      check(begin < values.size(), "[listops] the list that ends at token {} is empty", i);
      const int value =
          apply(op, values.begin() + static_cast<std::ptrdiff_t>(begin), values.end());
      values.resize(begin);
      values.push_back(static_cast<std::uint8_t>(value));
      open.pop_back();
    }
  }
  check(open.empty() && values.size() == 1,
        "[listops] expected a closed expression; got {} open lists", open.size());
  return values[0];
}

SequenceSet listops_set(const std::vector<std::vector<std::uint8_t>>& expressions,
                        const std::vector<std::int32_t>& values, index_t length) {
  SequenceSet set;
  set.vocabulary = listops::vocabulary, set.classes = listops::classes, set.pad = listops::pad;
  set.tokens = Array(ElementType::u8, {static_cast<index_t>(expressions.size()), length});
  std::uint8_t* row = set.tokens.mutable_as<std::uint8_t>().data();
  for (const auto& expression : expressions) {
    const index_t n = std::min(length, static_cast<index_t>(expression.size()));
    std::copy_n(expression.begin(), n, row);
    set.lengths.push_back(n);
    row += length;
  }
  set.labels = values;
  check_sequences(set, "[listops]");
  return set;
}

}  // namespace flr::data
