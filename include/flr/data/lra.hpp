// Long Range Arena and the reasoning tasks, from the files of their releases or from those that
// make_lra writes.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "flr/data/sequence_set.hpp"

namespace flr::data {

struct LraOptions {
  index_t length = 0;  ///< tokens kept of a longer text; 0: the task's (text 1000, retrieval 4000)
  /// Pads further, to a multiple; 128 as the processed sets have it. A task whose pad id is a token
  /// (Sudoku's blanks, black pixels) is padded with an id of its own behind the others.
  index_t pad_multiple = 1;
};

/// The names that load_lra knows: listops, text, retrieval, image, pathfinder32, pathfinder128,
/// mta, function_composition, binary_relation, quotient_relation, match3, sudoku.
std::vector<std::string> lra_tasks();

/// Loads a task's splits from a folder. `lra-<task>.{train,dev,test}.npz` come first (what make_lra
/// writes, and what read_sequences takes; test may be missing: dev is it then), then the release's
/// files:
///   listops    basic_{train,val,test}.tsv
///   text       imdb_{train,test}.tsv (label, …, text), or {train,test}/{pos,neg}/*.txt; dev = test
///   retrieval  new_aan_pairs.{train,eval,test}.tsv
///   image      cifar10_gray_{train,test}.bin or data_batch_{1…5}.bin and test_batch.bin: the first
///              45,000 (all but a tenth) train, the rest dev
/// Refuses an unknown task with the list, and a folder without files with what was looked for.
/// Pickles are not loaded, since loading one runs what it holds: the sentence says how to convert.
SequenceTask load_lra(const std::string& task, const std::filesystem::path& folder,
                      const LraOptions& options = {});

// The readers behind it.
/// ListOps' file: a header, then expression and value; every value is checked against the
/// expression's own.
SequenceSet read_listops(const std::filesystem::path& tsv, const LraOptions& options = {});
void write_listops(const std::filesystem::path& tsv,
                   const std::vector<std::vector<std::uint8_t>>& expressions);
/// Reviews: label first (0 or 1), text last.
SequenceSet read_imdb_tsv(const std::filesystem::path& tsv, const LraOptions& options = {});
/// The folders pos and neg of text files.
SequenceSet read_imdb_folder(const std::filesystem::path& folder, const LraOptions& options = {});
/// Pairs: label, two ids, two texts.
SequenceSet read_aan_pairs(const std::filesystem::path& tsv, const LraOptions& options = {});
/// Records of a label and 1024 gray or 3072 colour bytes; colour becomes gray as TensorFlow makes
/// it (0.2989 R + 0.587 G + 0.114 B, times 255.5/255, rounded down).
SequenceSet read_cifar10(const std::vector<std::filesystem::path>& files);

/// One split as .npz: tokens [S,L], lengths [S] (without them, zeros at the end are padding),
/// labels [S] or [S,L], `second` and `second_lengths` of pairs, and the scalars vocabulary, classes
/// and pad (without them, what the values need). The names of the processed pickles, input_ids_0,
/// input_ids_1 and label, are taken too.
SequenceSet read_sequences(const std::filesystem::path& npz);
void write_sequences(const std::filesystem::path& npz, const SequenceSet& set);

/// Pads all sequences to the next multiple.
SequenceSet padded(SequenceSet set, index_t multiple);

}  // namespace flr::data
