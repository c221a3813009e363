#include "flr/data/lra.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <numeric>

namespace flr::data {

namespace {

namespace fs = std::filesystem;

bool there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

std::vector<index_t> range(index_t begin, index_t end) {
  std::vector<index_t> samples(static_cast<std::size_t>(end - begin));
  std::iota(samples.begin(), samples.end(), begin);
  return samples;
}

// Files converted without scalars know their own values only; the splits share the largest.
void agree(SequenceTask& task) {
  std::vector<SequenceSet*> splits{&task.train, &task.dev};
  if (!task.same_test) splits.push_back(&task.test);
  index_t vocabulary = 0, classes = 0;
  for (const auto* set : splits) {
    vocabulary = std::max(vocabulary, set->vocabulary);
    classes = std::max(classes, set->classes);
    check(set->length() == task.train.length() && set->pad == task.train.pad &&
              set->token_labels == task.train.token_labels && set->paired() == task.train.paired(),
          "[lra] the splits of {} differ in length, pad id or kind of labels", task.name);
  }
  for (auto* set : splits) {
    set->vocabulary = vocabulary, set->classes = classes;
    if (set->tokens.type() != token_type(vocabulary)) {
      set->tokens = set->tokens.convert(token_type(vocabulary));
      set->second = set->second.convert(token_type(vocabulary));
    }
  }
}

// Whether a split has the pad id as a token among its tokens: a blank of Sudoku, a black pixel.
bool means_something(const SequenceSet& set) {
  std::vector<std::int64_t> row(static_cast<std::size_t>(set.length()));
  const auto holds = [&](index_t length) {
    return std::find(row.begin(), row.begin() + length, set.pad) != row.begin() + length;
  };
  for (index_t s = 0; s < set.samples(); ++s) {
    set.copy_tokens(s, row.data());
    if (holds(set.lengths[static_cast<std::size_t>(s)])) return true;
    if (!set.paired()) continue;
    set.copy_second(s, row.data());
    if (holds(set.second_lengths[static_cast<std::size_t>(s)])) return true;
  }
  return false;
}

/// Pads all splits to the next multiple, with an id of its own where the task's means something.
void pad_splits(SequenceTask& task, index_t multiple) {
  const std::array<SequenceSet*, 3> splits{&task.train, &task.dev, &task.test};
  const bool taken = task.train.length() % multiple != 0 &&
                     std::ranges::any_of(splits, [](auto* set) { return means_something(*set); });
  for (SequenceSet* set : splits) {
    if (set->samples() == 0) continue;
    if (taken) {
      set->pad = set->vocabulary++;
      set->tokens = set->tokens.convert(token_type(set->vocabulary));
      set->second = set->second.convert(token_type(set->vocabulary));
    }
    *set = padded(std::move(*set), multiple);
  }
}

fs::path split_file(const fs::path& folder, const std::string& task, const char* split,
                    const char* ending) {
  return folder / fmt::format("lra-{}.{}.{}", task, split, ending);
}

bool load_npz(SequenceTask& task, const fs::path& folder) {
  const auto file = [&](const char* split) { return split_file(folder, task.name, split, "npz"); };
  if (!there(file("train"))) return false;
  task.train = read_sequences(file("train"));
  task.dev = read_sequences(file("dev"));
  task.same_test = !there(file("test"));
  if (!task.same_test) task.test = read_sequences(file("test"));
  // Of pixels none is padding: a black one is 0 as well.
  if (task.name == "image" || task.name.starts_with("pathfinder"))
    for (SequenceSet* set : {&task.train, &task.dev, &task.test})
      std::fill(set->lengths.begin(), set->lengths.end(), set->length());
  return true;
}

bool load_listops(SequenceTask& task, const fs::path& folder, const LraOptions& options) {
  if (!there(folder / "basic_train.tsv")) return false;
  task.train = read_listops(folder / "basic_train.tsv", options);
  task.dev = read_listops(folder / "basic_val.tsv", options);
  task.test = read_listops(folder / "basic_test.tsv", options);
  return true;
}

bool load_text(SequenceTask& task, const fs::path& folder, const LraOptions& options) {
  task.same_test = true;
  if (there(folder / "imdb_train.tsv")) {
    task.train = read_imdb_tsv(folder / "imdb_train.tsv", options);
    task.dev = read_imdb_tsv(folder / "imdb_test.tsv", options);
    return true;
  }
  const fs::path inner = there(folder / "aclImdb") ? folder / "aclImdb" : folder;
  if (!there(inner / "train" / "pos")) return false;
  task.train = read_imdb_folder(inner / "train", options);
  task.dev = read_imdb_folder(inner / "test", options);
  return true;
}

bool load_retrieval(SequenceTask& task, const fs::path& folder, const LraOptions& options) {
  if (!there(folder / "new_aan_pairs.train.tsv")) return false;
  task.train = read_aan_pairs(folder / "new_aan_pairs.train.tsv", options);
  task.dev = read_aan_pairs(folder / "new_aan_pairs.eval.tsv", options);
  task.test = read_aan_pairs(folder / "new_aan_pairs.test.tsv", options);
  return true;
}

bool load_image(SequenceTask& task, const fs::path& folder, const LraOptions&) {
  std::vector<fs::path> train{folder / "cifar10_gray_train.bin"};
  fs::path test = folder / "cifar10_gray_test.bin";
  if (!there(train[0])) {
    const fs::path inner =
        there(folder / "cifar-10-batches-bin") ? folder / "cifar-10-batches-bin" : folder;
    train.clear();
    for (int i = 1; i <= 5; ++i) train.push_back(inner / fmt::format("data_batch_{}.bin", i));
    test = inner / "test_batch.bin";
    if (!there(train[0])) return false;
  }
  const SequenceSet all = read_cifar10(train);
  check(all.samples() >= 10, "[lra] expected at least 10 images in {}; got {}", train[0].string(),
        all.samples());
  const index_t cut = all.samples() - all.samples() / 10;
  task.train = all.select(range(0, cut));
  task.dev = all.select(range(cut, all.samples()));
  task.test = read_cifar10({test});
  return true;
}

struct Known {
  const char* name;
  bool (*load)(SequenceTask&, const fs::path&, const LraOptions&);
  const char* files;  // of the release; null where there are none
};

constexpr Known known[] = {
    {"listops", load_listops, "basic_train.tsv"},
    {"text", load_text, "imdb_train.tsv or train/pos"},
    {"retrieval", load_retrieval, "new_aan_pairs.train.tsv"},
    {"image", load_image, "cifar10_gray_train.bin or data_batch_1.bin"},
    {"pathfinder32", nullptr, nullptr},
    {"pathfinder128", nullptr, nullptr},
    {"mta", nullptr, nullptr},
    {"function_composition", nullptr, nullptr},
    {"binary_relation", nullptr, nullptr},
    {"quotient_relation", nullptr, nullptr},
    {"match3", nullptr, nullptr},
    {"sudoku", nullptr, nullptr},
};

[[noreturn]] void refuse(const Known& task, const fs::path& folder) {
  const fs::path pickle = split_file(folder, task.name, "train", "pickle");
  const std::string npz = split_file(folder, task.name, "train", "npz").string();
  if (there(pickle))
    fail(
        "[lra] {} is a pickle, which can run code and is not loaded; convert each split in Python: "
        "d = pickle.load(open(p, 'rb')); numpy.savez(p[:-6] + 'npz', "
        "**{{k: numpy.stack([s[k] for s in d]) for k in d[0]}}), which makes {}",
        pickle.string(), npz);
  if (there(folder / "imdb_train.tsv.xz") || there(folder / "cifar10_gray_train.bin.xz"))
    fail("[lra] the files of {} in {} are compressed; unpack them with xz -dk", task.name,
         folder.string());
  if (task.files) fail("[lra] expected {} or {} in {}", npz, task.files, folder.string());
  fail("[lra] {} does not exist; make_lra {} makes it", npz, task.name);
}

}  // namespace

std::vector<std::string> lra_tasks() {
  std::vector<std::string> names;
  for (const Known& task : known) names.emplace_back(task.name);
  return names;
}

SequenceTask load_lra(const std::string& name, const std::filesystem::path& folder,
                      const LraOptions& options) {
  const auto* entry =
      std::ranges::find(known, name, [](const Known& k) { return std::string(k.name); });
  check(entry != std::end(known), "[lra] expected a task of {}; got '{}'",
        fmt::join(lra_tasks(), ", "), name);
  check(options.length >= 0 && options.length <= index_t{1} << 24,
        "[lra] expected a length of 0 (the task's own) to 2^24; got {}", options.length);
  std::error_code ignored;
  check(fs::is_directory(folder, ignored), "[lra] {} is not a folder", folder.string());
  SequenceTask task;
  task.name = name;
  if (!load_npz(task, folder) && !(entry->load && entry->load(task, folder, options)))
    refuse(*entry, folder);
  check(options.pad_multiple >= 1, "[lra] expected to pad to a multiple of at least 1; got {}",
        options.pad_multiple);
  agree(task);
  pad_splits(task, options.pad_multiple);
  return task;
}

}  // namespace flr::data
