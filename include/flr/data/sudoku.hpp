// Sudoku puzzles: 81 tokens, 0 a blank cell; the labels are the solution's digits.
#pragma once

#include "flr/data/file.hpp"
#include "flr/data/sample_stream.hpp"
#include "flr/data/sequence_rows.hpp"

namespace flr::data {

struct SudokuRecipe {
  index_t train_puzzles = 1;     ///< drawn with seed 0; the rest are for the test
  index_t augmentations = 1000;  ///< of each, beside the puzzle itself
  index_t test_puzzles = 0;      ///< drawn with seed 1; 0 takes all that are left
  std::uint64_t train_seed = 0, test_seed = 1;
};

/// Puzzles of a csv file with the columns question and answer: 81 characters each, a blank is `.`
/// or 0. Refuses, with its line, an answer that is no solution of its question.
std::vector<SequenceRow> read_sudoku(const Source& source);

/// The same puzzle in other clothes: digits renamed, transposed or not, bands and their rows and
/// stacks and their columns in another order.
SequenceRow augment_sudoku(const SequenceRow& puzzle, SampleStream& random);

SequenceTask make_sudoku(const std::vector<SequenceRow>& puzzles, const SudokuRecipe& recipe = {});

}  // namespace flr::data
