#include "flr/data/sudoku.hpp"

#include <algorithm>
#include <array>
#include <numeric>

#include "flr/data/csv.hpp"

namespace flr::data {

namespace {

std::vector<std::uint16_t> cells_of(std::string_view text, const std::string& where) {
  check(text.size() == 81, "{} expected 81 cells; got {}", where, text.size());
  std::vector<std::uint16_t> cells;
  for (char c : text) {
    check(c == '.' || (c >= '0' && c <= '9'), "{} expected digits and dots; got '{}'", where, c);
    cells.push_back(static_cast<std::uint16_t>(c == '.' ? 0 : c - '0'));
  }
  return cells;
}

bool solves(const SequenceRow& puzzle) {
  std::array<unsigned, 27> seen{};
  for (std::size_t cell = 0; cell < 81; ++cell) {
    const std::size_t row = cell / 9, column = cell % 9, box = row / 3 * 3 + column / 3;
    const std::int32_t digit = puzzle.labels[cell];
    if (digit < 1 || (puzzle.tokens[cell] != 0 && puzzle.tokens[cell] != digit)) return false;
    for (std::size_t group : {row, 9 + column, 18 + box}) seen[group] |= 1u << digit;
  }
  return std::ranges::all_of(seen, [](unsigned digits) { return digits == 0x3FEu; });
}

// Where each of nine lines comes from: threes stay together.
std::array<std::size_t, 9> line_order(SampleStream& random) {
  std::array<std::size_t, 3> bands{0, 1, 2};
  random.shuffle(bands);
  std::array<std::size_t, 9> order;
  for (std::size_t b = 0; b < 3; ++b) {
    std::array<std::size_t, 3> lines{0, 1, 2};
    random.shuffle(lines);
    for (std::size_t i = 0; i < 3; ++i) order[3 * b + i] = 3 * bands[b] + lines[i];
  }
  return order;
}

constexpr SequenceLayout layout{
    .vocabulary = 10, .classes = 10, .pad = 0, .length = 81, .token_labels = true};

}  // namespace

std::vector<SequenceRow> read_sudoku(const Source& source) {
  CsvReader reader(source, {.delimiter = ','});
  std::vector<std::string> fields;
  check(reader.next(fields) && fields.size() >= 2,
        "[sudoku] {} expected columns question and answer", source.name());
  const auto column = [&](const char* name) {
    const auto at = std::ranges::find(fields, name);
    check(at != fields.end(), "[sudoku] {} expected a column '{}'", source.name(), name);
    return static_cast<std::size_t>(at - fields.begin());
  };
  const std::size_t question = column("question"), answer = column("answer");
  const std::size_t width = fields.size();
  std::vector<SequenceRow> puzzles;
  while (reader.next(fields)) {
    const std::string where = fmt::format("[sudoku] {} line {}:", source.name(), reader.line());
    check(fields.size() == width, "{} expected {} fields; got {}", where, width, fields.size());
    SequenceRow row;
    row.tokens = cells_of(fields[question], where);
    for (auto digit : cells_of(fields[answer], where)) row.labels.push_back(digit);
    check(solves(row), "{} the answer does not solve the question", where);
    puzzles.push_back(std::move(row));
  }
  return puzzles;
}

SequenceRow augment_sudoku(const SequenceRow& puzzle, SampleStream& random) {
  std::array<std::uint16_t, 10> digits;
  std::iota(digits.begin(), digits.end(), std::uint16_t{0});
  random.shuffle(std::span(digits).subspan(1));  // a blank stays blank
  const bool transpose = random.below(2) == 1;
  const auto rows = line_order(random), columns = line_order(random);
  SequenceRow result;
  for (std::size_t i : rows)
    for (std::size_t j : columns) {
      const std::size_t from = transpose ? j * 9 + i : i * 9 + j;
      result.tokens.push_back(digits[puzzle.tokens[from]]);
      result.labels.push_back(digits[static_cast<std::size_t>(puzzle.labels[from])]);
    }
  return result;
}

SequenceTask make_sudoku(const std::vector<SequenceRow>& puzzles, const SudokuRecipe& recipe) {
  const auto total = static_cast<index_t>(puzzles.size());
  check(recipe.train_puzzles >= 1 && recipe.train_puzzles < total,
        "[sudoku] expected to train on 1 to {} puzzles; got {}", total - 1, recipe.train_puzzles);
  check(recipe.augmentations >= 0 && recipe.test_puzzles >= 0,
        "[sudoku] expected no negative number of puzzles");
  std::vector<std::size_t> order(puzzles.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  SampleStream choose(recipe.train_seed, 0, 1), choose_test(recipe.test_seed, 0, 1);
  choose.shuffle(order);
  const auto train_count = static_cast<std::size_t>(recipe.train_puzzles);
  choose_test.shuffle(std::span(order).subspan(train_count));
  std::vector<SequenceRow> train, test;
  for (std::size_t p = 0; p < train_count; ++p) {
    train.push_back(puzzles[order[p]]);
    for (index_t a = 0; a < recipe.augmentations; ++a) {
      SampleStream random(recipe.train_seed, static_cast<std::uint64_t>(a), 2 + p);
      train.push_back(augment_sudoku(puzzles[order[p]], random));
    }
  }
  const std::size_t left = puzzles.size() - train_count;
  const std::size_t tested =
      recipe.test_puzzles ? std::min(left, static_cast<std::size_t>(recipe.test_puzzles)) : left;
  for (std::size_t p = 0; p < tested; ++p) test.push_back(puzzles[order[train_count + p]]);
  return {"sudoku",
          pack_rows(train, layout, "[sudoku]"),
          pack_rows(test, layout, "[sudoku]"),
          {},
          true};
}

}  // namespace flr::data
