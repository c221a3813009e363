// Data sets in their published formats, written here in exactly those, and what becomes of them.
#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <set>

#include "flr/data/dataset.hpp"
#include "flr/data/loader.hpp"
#include "flr/data/npy.hpp"
#include "flr/data/npz.hpp"

namespace fs = std::filesystem;
using namespace flr;
using namespace flr::data;

namespace {

struct Folder {
  fs::path path = fs::temp_directory_path() / fmt::format("flr-datasets-{}", std::rand());
  Folder() { fs::create_directories(path); }
  ~Folder() { fs::remove_all(path); }
};

/// An array whose element at a position is f(position).
Array made(const std::vector<std::int64_t>& shape,
           const std::function<double(const std::vector<std::int64_t>&)>& f) {
  std::int64_t n = 1;
  for (auto e : shape) n *= e;
  std::vector<float> values;
  std::vector<std::int64_t> at(shape.size(), 0);
  for (std::int64_t i = 0; i < n; ++i) {
    values.push_back(static_cast<float>(f(at)));
    for (std::size_t a = shape.size(); a-- > 0;) {
      if (++at[a] < shape[a]) break;
      at[a] = 0;
    }
  }
  return Array(values, shape);
}

double decoded(const Dataset& set, const PointSet& points, std::size_t row) {
  return points.y[row] * set.y_norm.std[0] + set.y_norm.mean[0];
}

}  // namespace

TEST_CASE("elasticity: points, coordinate, sample; the last samples are the test set") {
  const Folder folder;
  const fs::path meshes = folder.path / "Geo-FNO/elasticity/Meshes";
  fs::create_directories(meshes);
  const std::int64_t n = 9, samples = 7;
  write_npy(meshes / "Random_UnitCell_sigma_10.npy",
            made({n, samples}, [](const auto& p) { return 100.0 * double(p[1]) + double(p[0]); }));
  write_npy(meshes / "Random_UnitCell_XY_10.npy", made({n, 2, samples}, [](const auto& p) {
              return 100.0 * double(p[2]) + double(p[0]) + 0.5 * double(p[1]);
            }));
  DatasetOptions o;
  o.root = folder.path, o.train_samples = 4, o.test_samples = 2;
  const Dataset set = load_dataset("elasticity", o);
  REQUIRE(set.train.samples() == 4);
  REQUIRE(set.test.samples() == 2);
  CHECK(set.eval_batch == 5);
  CHECK(set.x_norm.is_identity());
  // Point 3 of the first test sample, which is sample 5 of the file.
  CHECK(set.test.x[2 * 3] == 503.f);
  CHECK(set.test.x[2 * 3 + 1] == 503.5f);
  CHECK(decoded(set, set.test, 3) == doctest::Approx(503));
  double sum = 0, squares = 0;
  for (float v : set.train.y) sum += v, squares += double(v) * v;
  CHECK(sum == doctest::Approx(0).epsilon(1e-4));
  CHECK(squares == doctest::Approx(4 * 9 - 1).epsilon(1e-5));  // the unbiased deviation is 1
  o.train_samples = 6;
  CHECK_THROWS_AS(load_dataset("elasticity", o), Error);
}

TEST_CASE("airfoil and pipe: coordinates and one channel on a grid") {
  const Folder folder;
  struct Case {
    const char *name, *path, *prefix;
    std::int64_t rows, cols, channel;
  };
  for (const Case& c : {Case{"airfoil_steady", "Geo-FNO/airfoil/naca", "NACA_Cylinder", 221, 51, 4},
                        Case{"pipe", "Geo-FNO/pipe", "Pipe", 129, 129, 0}}) {
    CAPTURE(c.name);
    const fs::path at = folder.path / c.path;
    fs::create_directories(at);
    const std::string start = (at / c.prefix).string();
    const auto coordinate = [](double sign) {
      return [sign](const std::vector<std::int64_t>& p) {
        return sign * (double(p[0]) + 0.01 * double(p[1]) + 0.0001 * double(p[2]));
      };
    };
    write_npy(start + "_X.npy", made({3, c.rows, c.cols}, coordinate(1)));
    write_npy(start + "_Y.npy", made({3, c.rows, c.cols}, coordinate(-1)));
    write_npy(start + "_Q.npy", made({3, 5, c.rows, c.cols}, [](const auto& p) {
                return 10.0 * double(p[1]) + double(p[0]) + 0.001 * double(p[2]);
              }));
    DatasetOptions o;
    o.root = folder.path, o.train_samples = 2, o.test_samples = 1;
    const Dataset set = load_dataset(c.name, o);
    CHECK(set.train.grid == std::vector<index_t>{c.rows, c.cols});
    CHECK(set.x_norm.is_identity() == (c.channel == 4));
    const std::size_t row = static_cast<std::size_t>(7 * c.cols + 3);
    CHECK(decoded(set, set.test, row) == doctest::Approx(10.0 * double(c.channel) + 2.007).epsilon(1e-5));
    std::vector<float> x = set.test.x;
    set.x_norm.decode(x);
    CHECK(x[2 * row] == doctest::Approx(2.0703).epsilon(1e-5));
    CHECK(x[2 * row + 1] == doctest::Approx(-2.0703).epsilon(1e-5));
    write_npy(start + "_Y.npy", made({3, c.rows, c.cols - 1}, coordinate(-1)));
    CHECK_THROWS_WITH_AS(load_dataset(c.name, o), doctest::Contains("expected shape"), Error);
  }
}

TEST_CASE("a set of one's own: regular or packed, with a split") {
  const Folder folder;
  const fs::path file = folder.path / "mine.npz", split = folder.path / "split.json";
  const auto x = made({4, 3, 2}, [](const auto& p) { return double(p[0] * 100 + p[1] * 10 + p[2]); });
  const auto y = made({4, 3}, [](const auto& p) { return double(p[0] * 100 + p[1]); });
  write_npz(file, {{"x", x}, {"y", y}});
  std::ofstream(split) << R"({"train": [3, 0], "test": [2]})";
  DatasetOptions o;
  o.split = split, o.normalize_y = false;
  const Dataset set = load_dataset(file.string(), o);
  CHECK(set.train.samples() == 2);
  CHECK(set.train.x[0] == 300.f);
  CHECK(set.train.y[3] == 0.f);
  CHECK(set.test.y[1] == 201.f);

  SUBCASE("a split that names a sample twice is refused") {
    std::ofstream(split) << R"({"train": [3, 0], "test": [3]})";
    CHECK_THROWS_WITH_AS(load_dataset(file.string(), o), doctest::Contains("named twice"), Error);
  }
  SUBCASE("targets laid out in another way are refused") {
    write_npz(file, {{"x", x}, {"y", made({3, 4}, [](const auto&) { return 1.0; })}});
    CHECK_THROWS_WITH_AS(load_dataset(file.string(), o), doctest::Contains("samples of"), Error);
  }
  SUBCASE("more samples than there are are refused") {
    o.train_samples = 3;
    CHECK_THROWS_WITH_AS(load_dataset(file.string(), o), doctest::Contains("there are 2"), Error);
  }
  SUBCASE("packed: samples of 2, 1 and 4 points") {
    write_npz(file, {{"x", made({7, 2}, [](const auto& p) { return double(p[0] * 10 + p[1]); })},
                     {"y", made({7, 1}, [](const auto& p) { return double(p[0]); })},
                     {"offsets", Array(std::vector<std::int64_t>{0, 2, 3, 7}, {4})}});
    std::ofstream(split) << R"({"train": [2, 0], "test": [1]})";
    const Dataset packed = load_dataset(file.string(), o);
    CHECK(packed.train.points(0) == 4);
    CHECK(packed.train.points(1) == 2);
    CHECK(packed.train.x[0] == 30.f);
    CHECK(packed.test.y == std::vector<float>{2});
    CHECK_FALSE(packed.train.uniform());
    CHECK_THROWS_AS(make_batch<float>(packed.train, {0, 1}), Error);
  }
}

TEST_CASE("the loader: every sample once an epoch, in an order of seed and epoch alone") {
  PointSet set = PointSet::regular(10, 3, 1, 1);
  for (std::size_t i = 0; i < set.x.size(); ++i) set.x[i] = set.y[i] = static_cast<float>(i / 3);
  Loader<float> loader(set, {.batch_size = 3, .seed = 5}), again(set, {.batch_size = 3, .seed = 5});
  CHECK(loader.batches() == 3);
  std::vector<std::vector<index_t>> orders;
  for (index_t epoch = 0; epoch < 2; ++epoch) {
    std::set<index_t> seen;
    orders.emplace_back();
    for (index_t i = 0; i < 3; ++i) {
      const Batch<float> b = loader.batch(epoch, i);
      CHECK(b.x.shape() == Shape{3, 3, 1});
      for (index_t k = 0; k < 3; ++k) {
        CHECK(b.x.at(k, 2, 0) == static_cast<float>(b.samples[static_cast<std::size_t>(k)]));
        CHECK(seen.insert(b.samples[static_cast<std::size_t>(k)]).second);
        orders.back().push_back(b.samples[static_cast<std::size_t>(k)]);
      }
    }
  }
  CHECK(orders[0] != orders[1]);
  // Asked for out of order, a batch is the same.
  CHECK(again.batch(1, 2).samples ==
        std::vector<index_t>(orders[1].begin() + 6, orders[1].end()));
  CHECK_THROWS_AS(loader.batch(0, 3), Error);
}
