// Loaders of the Long Range Arena: the release's files as these tests write them, damage, and the
// real files where they are there.
#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>

#include "flr/data/listops.hpp"
#include "flr/data/lra.hpp"
#include "flr/data/npz.hpp"
#include "flr/data/reasoning.hpp"
#include "flr/data/sequence_batch.hpp"
#include "flr/data/sequence_rows.hpp"
#include "flr/data/sudoku.hpp"
#include "lra_files.hpp"

using namespace flr;
using namespace flr::data;
namespace fs = std::filesystem;

namespace {

struct Folder {
  fs::path path = fs::temp_directory_path() / ("flr-lra-" + std::to_string(::getpid()));
  Folder() { fs::create_directories(path); }
  ~Folder() { fs::remove_all(path); }
  fs::path write(const std::string& name, std::string_view text) const {
    fs::create_directories((path / name).parent_path());
    std::ofstream(path / name, std::ios::binary) << text;
    return path / name;
  }
};

std::vector<std::int64_t> tokens_of(const SequenceSet& set, index_t sample) {
  std::vector<std::int64_t> tokens(static_cast<std::size_t>(set.length()));
  set.copy_tokens(sample, tokens.data());
  return tokens;
}

template <class F>
std::string refusal(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

bool says(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("lra: listops files") {
  const Folder folder;
  const std::string text =
      "Source\tTarget\n( ( ( [MAX 4 ) 7 ) ] )\t7\n( ( ( ( [SM 4 ) 7 ) 3 ) ] )\t4\n";
  for (const char* name : {"basic_train.tsv", "basic_val.tsv", "basic_test.tsv"})
    folder.write(name, text);
  const SequenceTask task = load_lra("listops", folder.path);
  CHECK(!task.same_test);
  CHECK(task.train.samples() == 2);
  CHECK(task.train.length() == 2000);
  CHECK(task.train.vocabulary == 16);
  CHECK(task.train.classes == 10);
  CHECK(task.test.labels == std::vector<std::int32_t>{7, 4});
  CHECK(task.dev.lengths == std::vector<index_t>{4, 5});
  const auto tokens = tokens_of(task.train, 0);
  CHECK(std::vector(tokens.begin(), tokens.begin() + 6) ==
        std::vector<std::int64_t>{listops::max, 5, 8, listops::close, 0, 0});
  const auto odd = [&](std::string_view rows) {
    return refusal([&] { read_listops(folder.write("odd.tsv", rows)); });
  };
  CHECK(says(odd("( [MAX 4 ) ] )\t4\n"), "header of Source and Target"));
  CHECK(
      says(odd("Source\tTarget\n4\t5\n"), "line 2: the expression's value is 4, the file says 5"));
  CHECK(says(odd("Source\tTarget\n[MAX 4\t4\n"), "closed"));
  CHECK(says(odd("Source\tTarget\n[MAX 4 ]\n"), "expected 2 fields; got 1"));
  CHECK(says(odd("Source\tTarget\n[MAX four ]\t4\n"), "got 'four'"));
  CHECK(says(odd("Source\tTarget\n"), "holds no expression"));
  CHECK(says(odd(""), "header"));
}

TEST_CASE("lra: what is written comes back") {
  const Folder folder;
  const auto made = generate_listops({.seed = 1}, 6);
  write_listops(folder.path / "basic_train.tsv", made.kept);
  const SequenceSet listops = read_listops(folder.path / "basic_train.tsv");
  for (index_t s = 0; s < 6; ++s) {
    const auto& kept = made.kept[static_cast<std::size_t>(s)];
    const auto tokens = tokens_of(listops, s);
    CHECK(std::equal(kept.begin(), kept.end(), tokens.begin()));
    CHECK(listops.labels[static_cast<std::size_t>(s)] == listops_value(kept));
  }
  const SequenceTask made_task = generate_quotient_relation({.samples = 100});
  write_sequences(folder.path / "lra-quotient_relation.train.npz", made_task.train);
  write_sequences(folder.path / "lra-quotient_relation.dev.npz", made_task.dev);
  const SequenceTask task = load_lra("quotient_relation", folder.path);
  CHECK(task.same_test);
  CHECK(&task.test_or_dev() == &task.dev);
  CHECK(task.train.tokens == made_task.train.tokens);
  CHECK(task.train.labels == made_task.train.labels);
  CHECK(task.train.lengths == made_task.train.lengths);
  CHECK(task.train.token_labels);
  CHECK(task.train.vocabulary == 11);
  CHECK(task.dev.pad == 10);
}

TEST_CASE("lra: reviews, as a table and as a folder") {
  const Folder folder;
  const std::string review = "it said \"never\" again\xC3\xA9";
  folder.write("imdb_train.tsv", "1\t8\t0\t12\t" + review + "\n0\t1\t1\t13\tbad\n");
  folder.write("imdb_test.tsv", "0\t1\t1\t13\tno\n");
  const SequenceTask task = load_lra("text", folder.path);
  CHECK(task.same_test);
  CHECK(task.train.length() == 1000);
  CHECK(task.train.vocabulary == 257);
  CHECK(task.train.labels == std::vector<std::int32_t>{1, 0});
  CHECK(task.train.lengths[0] == static_cast<index_t>(review.size()));
  const auto tokens = tokens_of(task.train, 0);
  for (std::size_t i = 0; i < review.size(); ++i)
    CHECK(tokens[i] == static_cast<unsigned char>(review[i]) + 1);
  CHECK(tokens[review.size()] == 0);
  const SequenceTask wide = load_lra("text", folder.path, {.length = 6, .pad_multiple = 4});
  CHECK(wide.train.length() == 8);
  CHECK(wide.train.lengths[0] == 6);
  CHECK(tokens_of(wide.train, 0)[6] == 0);
  CHECK(says(refusal([&] { read_imdb_tsv(folder.write("a.tsv", "2\tx\n")); }), "label of 0 or 1"));
  CHECK(says(refusal([&] { read_imdb_tsv(folder.write("a.tsv", "1\tx\n0\n")); }),
             "line 2: expected 2"));
  CHECK(says(refusal([&] { read_imdb_tsv(folder.write("a.tsv", "")); }), "at least one sequence"));

  const Folder* same = &folder;
  for (const char* name : {"imdb_train.tsv", "imdb_test.tsv"}) fs::remove(same->path / name);
  for (const char* split : {"train", "test"}) {
    folder.write(fmt::format("aclImdb/{}/pos/0_9.txt", split), "good");
    folder.write(fmt::format("aclImdb/{}/neg/0_2.txt", split), "bad");
    folder.write(fmt::format("aclImdb/{}/neg/1_2.txt", split), "worse");
  }
  const SequenceTask files = load_lra("text", folder.path);
  CHECK(files.train.labels == std::vector<std::int32_t>{0, 0, 1});
  CHECK(files.train.lengths == std::vector<index_t>{3, 5, 4});
}

TEST_CASE("lra: padding of any split is padding") {
  SequenceSet set;
  set.tokens = Array(std::vector<std::uint8_t>{1, 2, 3, 1}, {2, 2});
  set.lengths = {2, 2}, set.labels = {0, 1};
  set.classes = 2, set.vocabulary = 4;
  SequenceTask task{"toy", set, set, set};
  CHECK_FALSE(has_padding(task));
  task.test.lengths[1] = 1;
  CHECK(has_padding(task));
  task.test = set, task.dev.lengths[0] = 0;
  CHECK(has_padding(task));
  task.dev = set, task.dev.second = set.tokens, task.dev.second_lengths = {2, 1};
  CHECK(has_padding(task));
  CHECK_FALSE(has_padding({"toy", set, set, {}, true}));
}

TEST_CASE("lra: a blank is no padding") {
  const Folder folder;
  SequenceSet set;
  set.tokens = Array(std::vector<std::uint8_t>{0, 1, 2, 3, 0, 1}, {2, 3});
  set.lengths = {3, 3}, set.labels = {1, 1, 2, 3, 3, 1}, set.token_labels = true;
  set.classes = set.vocabulary = 4;
  SequenceSet without = set;  // of its blanks
  without.tokens = Array(std::vector<std::uint8_t>{3, 1, 2, 3, 2, 1}, {2, 3});
  write_sequences(folder.path / "lra-sudoku.train.npz", set);
  write_sequences(folder.path / "lra-sudoku.dev.npz", without);
  const SequenceTask task = load_lra("sudoku", folder.path, {.pad_multiple = 4});
  for (const SequenceSet* split : {&task.train, &task.dev}) {
    CHECK(split->pad == 4);
    CHECK(split->vocabulary == 5);
    CHECK(split->classes == 4);
  }
  std::vector<std::int64_t> row(4);
  task.train.copy_tokens(0, row.data());
  CHECK(row == std::vector<std::int64_t>{0, 1, 2, 4});
  task.dev.copy_tokens(1, row.data());
  CHECK(row == std::vector<std::int64_t>{3, 2, 1, 4});
  task.train.copy_labels(0, row.data());
  CHECK(row == std::vector<std::int64_t>{1, 1, 2, ignored_label});
  const SequenceTask whole = load_lra("sudoku", folder.path, {.pad_multiple = 3});
  CHECK(whole.train.pad == 0);
  CHECK(whole.train.vocabulary == 4);
  // With one byte's ids all taken, tokens are held in two.
  set.vocabulary = 256;
  write_sequences(folder.path / "lra-sudoku.train.npz", set);
  write_sequences(folder.path / "lra-sudoku.dev.npz", set);
  const SequenceTask wide = load_lra("sudoku", folder.path, {.pad_multiple = 4});
  CHECK(wide.dev.pad == 256);
  wide.dev.copy_tokens(1, row.data());
  CHECK(row == std::vector<std::int64_t>{3, 0, 1, 256});
}

TEST_CASE("lra: pairs of documents") {
  const Folder folder;
  for (const char* split : {"train", "eval", "test"})
    folder.write(fmt::format("new_aan_pairs.{}.tsv", split),
                 "1.0\tP1\tP2\tb'first\\n'\tsecond one\n0\tP3\tP4\ta\tb\n");
  const SequenceTask task = load_lra("retrieval", folder.path, {.pad_multiple = 128});
  CHECK(task.train.length() == 4096);
  CHECK(task.train.paired());
  CHECK(task.train.labels == std::vector<std::int32_t>{1, 0});
  CHECK(task.train.second_lengths == std::vector<index_t>{10, 1});
  const SequenceBatch batch = make_sequence_batch(task.dev, {1, 0});
  CHECK(batch.tokens.shape() == Shape{2, 4096});
  CHECK(batch.second.to_vector()[0] == 'b' + 1);
  CHECK(batch.labels.to_vector() == std::vector<std::int64_t>{0, 1});
  CHECK(batch.keep.to_vector()[1] == 0);
  CHECK(says(refusal([&] { read_aan_pairs(folder.write("a.tsv", "1\t2\t3\t4\n")); }),
             "expected 5 fields"));
}

TEST_CASE("lra: images, gray and in colour") {
  const Folder folder;
  std::string gray, colour;
  for (int i = 0; i < 20; ++i) {
    gray += static_cast<char>(i % 10) + std::string(1024, static_cast<char>(10 * i));
    colour += static_cast<char>(i % 10) + std::string(1024, '\xff') + std::string(1024, '\0') +
              std::string(1024, static_cast<char>(i));
  }
  folder.write("cifar10_gray_train.bin", gray);
  folder.write("cifar10_gray_test.bin", gray);
  const SequenceTask task = load_lra("image", folder.path);
  CHECK(task.train.samples() == 18);
  CHECK(task.dev.samples() == 2);
  CHECK(task.test.samples() == 20);
  CHECK(tokens_of(task.dev, 1)[1023] == 190);
  CHECK(task.dev.labels == std::vector<std::int32_t>{8, 9});
  const SequenceSet red = read_cifar10({folder.write("colour.bin", colour)});
  CHECK(red.samples() == 20);
  CHECK(tokens_of(red, 0)[0] == 76);  // 0.2989 · 255
  CHECK(says(refusal([&] { read_cifar10({folder.write("cut.bin", gray.substr(0, 3000))}); }),
             "expected records of 1025"));
  gray[0] = 11;
  CHECK(
      says(refusal([&] { read_cifar10({folder.write("label.bin", gray)}); }), "labels of 0 to 9"));
}

TEST_CASE("lra: converted pickles, and what is refused") {
  const Folder folder;
  const auto save = [&](const char* split, std::vector<std::int64_t> tokens) {
    write_npz(folder.path / fmt::format("lra-retrieval.{}.npz", split),
              {{"input_ids_0", Array(tokens, {2, 3})},
               {"input_ids_1", Array(tokens, {2, 3})},
               {"label", Array(std::vector<std::int64_t>{0, 1}, {2})}});
  };
  save("train", {5, 6, 0, 7, 0, 0});
  save("dev", {300, 6, 0, 7, 0, 0});
  const SequenceTask task = load_lra("retrieval", folder.path);
  CHECK(task.train.vocabulary == 301);
  CHECK(task.train.lengths == std::vector<index_t>{2, 1});
  CHECK(task.dev.second_lengths == std::vector<index_t>{2, 1});
  CHECK(tokens_of(task.train, 1)[0] == 7);
  save("dev", {-1, 6, 0, 7, 0, 0});
  CHECK(refusal([&] { load_lra("retrieval", folder.path); }) != "accepted");
  save("dev", {1 << 20, 6, 0, 7, 0, 0});
  CHECK(says(refusal([&] { load_lra("retrieval", folder.path); }), "65536"));

  folder.write("lra-image.train.pickle", "x");
  CHECK(says(refusal([&] { load_lra("image", folder.path); }), "convert each split in Python"));
  CHECK(
      says(refusal([&] { load_lra("images", folder.path); }), "expected a task of listops, text"));
  CHECK(says(refusal([&] { load_lra("mta", folder.path); }), "make_lra mta makes it"));
  CHECK(says(refusal([&] { load_lra("listops", folder.path); }), "basic_train.tsv"));
  CHECK(says(refusal([&] { load_lra("listops", folder.path / "no"); }), "is not a folder"));
}

TEST_CASE("lra: damaged files end in a sentence") {
  const Folder folder;
  const SequenceTask task = generate_binary_relation({.samples = 10});
  write_sequences(folder.path / "a.npz", task.dev);
  const std::string whole = read_text(folder.path / "a.npz");
  const auto attempt = [&](const std::string& bytes) {
    const auto file = folder.write("b.npz", bytes);
    return refusal([&] { read_sequences(file); }) == "accepted";
  };
  CHECK(attempt(whole));
  for (std::size_t n = 0; n < whole.size(); n += 7) CHECK(!attempt(whole.substr(0, n)));
  for (std::size_t i = 0; i < whole.size(); i += 3) {
    std::string damaged = whole;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x55);
    attempt(damaged);  // any end but a crash
  }
  // Arrays that contradict each other.
  const auto refuses = [&](std::map<std::string, Array> arrays, const char* part) {
    write_npz(folder.path / "c.npz", arrays);
    const std::string text = refusal([&] { read_sequences(folder.path / "c.npz"); });
    CAPTURE(text);
    CHECK(says(text, part));
  };
  const Array tokens(std::vector<std::int32_t>{1, 2, 3, 0}, {2, 2});
  const Array labels(std::vector<std::int32_t>{0, 1}, {2});
  const auto one = [](std::int64_t v) { return Array(std::vector<std::int64_t>{v}, {1}); };
  refuses({{"labels", labels}}, "tokens");
  refuses({{"tokens", tokens}}, "labels");
  refuses({{"tokens", labels}, {"labels", labels}}, "[samples, length]");
  refuses({{"tokens", tokens}, {"labels", one(1)}}, "labels [2]");
  refuses({{"tokens", tokens}, {"labels", labels}, {"vocabulary", one(3)}}, "tokens below 3");
  refuses({{"tokens", tokens}, {"labels", labels}, {"vocabulary", one(-3)}}, "vocabulary");
  refuses({{"tokens", tokens}, {"labels", labels}, {"pad", one(9)}}, "pad id");
  refuses({{"tokens", tokens}, {"labels", labels}, {"lengths", one(1)}}, "a length for each");
  refuses({{"tokens", tokens}, {"labels", labels}, {"classes", one(1)}}, "two classes");
  refuses({{"tokens", tokens}, {"labels", labels}, {"second", labels}}, "[samples, length]");
  refuses({{"tokens", tokens},
           {"labels", labels},
           {"lengths", Array(std::vector<std::int64_t>{1, 3}, {2})}},
          "lengths of 0 to 2");
}

TEST_CASE("sudoku: damaged tables") {
  const std::string head = "question,answer\n";
  const auto reads = [](const std::string& text) {
    return refusal([&] { read_sudoku(Source(std::as_bytes(std::span(text)), "s.csv")); });
  };
  CHECK(says(reads(""), "columns question and answer"));
  CHECK(says(reads("a,b\n"), "a column 'question'"));
  CHECK(says(reads(head + "1,2\n"), "line 2: expected 81 cells; got 1"));
  CHECK(says(reads(head + std::string(81, 'x') + "," + std::string(81, '1') + "\n"), "got 'x'"));
  CHECK(says(reads(head + std::string(81, '.') + "," + std::string(81, '1') + "\n"),
             "does not solve"));
  CHECK(says(reads(head + std::string(81, '.') + "\n"), "expected 2 fields"));
}

TEST_CASE("lra: the real reviews and images") {
  const auto review = lra_file("text/imdb_test.tsv"),
             images = lra_file("image/cifar10_gray_test.bin");
  if (!review.empty()) {
    const SequenceSet text = read_imdb_tsv(review);
    CHECK(text.samples() == 25000);
    CHECK(std::ranges::count(text.labels, 1) == 12500);
    const auto tokens = tokens_of(text, 0);
    CHECK(tokens[0] == 'I' + 1);
  }
  if (!images.empty()) {
    const SequenceSet set = read_cifar10({images});
    CHECK(set.samples() == 10000);
    for (std::int32_t c = 0; c < 10; ++c) CHECK(std::ranges::count(set.labels, c) == 1000);
  }
}
