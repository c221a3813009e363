// Making Darcy sets: threads, interrupted runs, and the files that come out.
#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "flr/data/darcy_files.hpp"
#include "flr/data/darcy_generate.hpp"
#include "flr/data/mat5.hpp"
#include "flr/data/npz.hpp"

using namespace flr;
using namespace flr::data;
namespace fs = std::filesystem;

namespace {

struct Folder {
  fs::path path = fs::temp_directory_path() / ("flr-darcy-" + std::to_string(::getpid()));
  Folder() { fs::create_directories(path); }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
  fs::path operator/(const char* name) const { return path / name; }
};

const DarcySet small{.recipe = {.grid = 15, .seed = 4}, .samples = 9, .stride = 2};

bool always(index_t) {
  return true;
}

std::string contents(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// What an uninterrupted run on one thread writes.
std::string straight(const Folder& folder) {
  DarcyPart part(folder / "straight.part", small, DarcyPart::Start::fresh);
  generate_darcy(part, 1, always);
  write_darcy(folder / "straight.npz", part, 0, small.samples);
  return contents(folder / "straight.npz");
}

}  // namespace

TEST_CASE("samples do not depend on the number of threads") {
  const Folder folder;
  const std::string expected = straight(folder);
  DarcyPart part(folder / "threads.part", small, DarcyPart::Start::fresh);
  generate_darcy(part, 4, always);
  write_darcy(folder / "threads.npz", part, 0, small.samples);
  CHECK(contents(folder / "threads.npz") == expected);
}

TEST_CASE("a run that was killed at any byte goes on to the same file") {
  const Folder folder;
  const std::string expected = straight(folder);
  const fs::path file = folder / "killed.part";
  const std::string whole = contents(folder / "straight.part");
  const std::size_t record = 8 + 64 * 9 + 4, header = whole.size() - 9 * record;
  for (std::size_t kept : {std::size_t{0}, header / 2, header, header + 1, header + record,
                           header + 4 * record + record / 2, whole.size() - 1, whole.size()}) {
    CAPTURE(kept);
    fs::remove(file);
    std::ofstream(file, std::ios::binary) << whole.substr(0, kept);
    DarcyPart part(file, small, DarcyPart::Start::resume);
    CHECK(part.count() == static_cast<index_t>(kept < header ? 0 : (kept - header) / record));
    generate_darcy(part, 2, always);
    CHECK(part.count() == small.samples);
    write_darcy(folder / "resumed.npz", part, 0, small.samples);
    CHECK(contents(folder / "resumed.npz") == expected);
  }
}

TEST_CASE("a run can be stopped between samples") {
  const Folder folder;
  const std::string expected = straight(folder);
  {
    DarcyPart part(folder / "stopped.part", small, DarcyPart::Start::resume);
    generate_darcy(part, 2, [](index_t done) { return done < 3; });
    CHECK(part.count() >= 3);
    CHECK(part.count() <= 4);
  }
  DarcyPart part(folder / "stopped.part", small, DarcyPart::Start::resume);
  generate_darcy(part, 2, always);
  write_darcy(folder / "stopped.npz", part, 0, small.samples);
  CHECK(contents(folder / "stopped.npz") == expected);
  part.remove();
  CHECK_FALSE(fs::exists(folder / "stopped.part"));
}

TEST_CASE("a sample with a flipped bit is made again") {
  const Folder folder;
  const std::string expected = straight(folder);
  std::string bytes = contents(folder / "straight.part");
  bytes[bytes.size() - 700] ^= 1;  // in the last but one
  std::ofstream(folder / "flipped.part", std::ios::binary) << bytes;
  DarcyPart part(folder / "flipped.part", small, DarcyPart::Start::resume);
  CHECK(part.count() == small.samples - 2);
  generate_darcy(part, 1, always);
  write_darcy(folder / "flipped.npz", part, 0, small.samples);
  CHECK(contents(folder / "flipped.npz") == expected);
}

TEST_CASE("partial results of another set, or of nobody, are refused") {
  const Folder folder;
  const fs::path file = folder / "set.part";
  { DarcyPart part(file, small, DarcyPart::Start::fresh); }
  const auto resume = [&](const DarcySet& set) { DarcyPart(file, set, DarcyPart::Start::resume); };
  const auto message = [&](const std::string& what) {
    return "[darcy] " + file.string() + " was begun with " + what;
  };
  DarcySet other = small;
  other.recipe.seed = 5;
  CHECK_THROWS_WITH_AS(resume(other), message("seed 4; got 5").c_str(), Error);
  other = small;
  other.recipe.grid = 16;
  CHECK_THROWS_WITH_AS(resume(other), message("grid 15; got 16").c_str(), Error);
  other = small;
  other.samples = 10;
  CHECK_THROWS_WITH_AS(resume(other), message("sample count 9; got 10").c_str(), Error);
  other = small;
  other.recipe.tau = 5;
  CHECK_THROWS_WITH_AS(resume(other), message("tau 3; got 5").c_str(), Error);

  CHECK_THROWS_WITH_AS(DarcyPart(file, small, DarcyPart::Start::fresh),
                       ("[darcy] " + file.string() +
                        " holds the samples of an interrupted run: "
                        "resume that run or delete the file")
                           .c_str(),
                       Error);
  DarcyPart held(file, small, DarcyPart::Start::resume);
  CHECK_THROWS_WITH_AS(resume(small),
                       ("[darcy] " + file.string() + " is in use by another run").c_str(), Error);
  std::ofstream(folder / "text.part") << "something else that is not ours";
  CHECK_THROWS_AS(DarcyPart(folder / "text.part", small, DarcyPart::Start::resume), Error);
  CHECK(contents(folder / "text.part") == "something else that is not ours");
}

TEST_CASE("files have the published layout") {
  const Folder folder;
  DarcyPart part(folder / "files.part", small, DarcyPart::Start::fresh);
  generate_darcy(part, 2, always);
  write_darcy(folder / "set.mat", part, 2, 9, ElementType::f64);
  write_darcy(folder / "set.npz", part, 2, 9, ElementType::f64);
  const MatFile mat(folder / "set.mat");
  const auto npz = read_npz(folder / "set.npz");
  for (const char* name : {"coeff", "sol"}) {
    const Array array = mat.read(name);
    CHECK(array.shape() == std::vector<std::int64_t>{7, 8, 8});
    CHECK(array == npz.at(name));
  }
  const auto a = npz.at("coeff").as<double>(), u = npz.at("sol").as<double>();
  const auto x = npz.at("coords").as<double>();
  for (int i = 0; i < 8; ++i) CHECK(x[i] == (2 * i + 0.5) / 15);
  DarcySet whole = small;
  whole.stride = 1;
  const DarcySample sample = DarcySampler(whole)(2);
  for (int i = 0; i < 8; ++i)
    for (int j = 0; j < 8; ++j) {
      CHECK(a[i * 8 + j] == (sample.high[2 * i * 15 + 2 * j] ? 12 : 3));
      CHECK(u[i * 8 + j] == doctest::Approx(sample.solution[2 * i * 15 + 2 * j]).epsilon(1e-12));
    }
  CHECK_THROWS_WITH_AS(write_darcy("set.txt", part, 0, 9),
                       "[darcy] expected a file name that ends in .mat or .npz; got set.txt",
                       Error);
  CHECK_THROWS_AS(write_darcy(folder / "set.npz", part, 0, 10), Error);
}

TEST_CASE("what goes wrong in a thread reaches the caller") {
  const Folder folder;
  DarcyPart part(folder / "failing.part", small, DarcyPart::Start::fresh);
  CHECK_THROWS_WITH_AS(
      generate_darcy(part, 3, [](index_t) -> bool { throw Error("[test] no more"); }),
      "[test] no more", Error);
}
