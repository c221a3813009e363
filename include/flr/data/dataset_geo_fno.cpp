// Elasticity, airfoil and pipe: the sets of Geo-FNO (Li et al. 2022), as NumPy files.
#include "flr/data/dataset.hpp"
#include "flr/data/npy.hpp"

namespace flr::data {

namespace {

Array read_shaped(const std::filesystem::path& file, const std::vector<std::int64_t>& expected) {
  Array a = read_npy(file);
  bool fits = a.shape().size() == expected.size();
  for (std::size_t i = 0; fits && i < expected.size(); ++i)
    fits = expected[i] < 0 || a.shape()[i] == expected[i];
  check(fits, "[dataset] {}: expected shape {} (-1: any), got {}", file.string(),
        shape_text(expected), shape_text(a.shape()));
  return a;
}

struct Split {
  index_t train, test, test_begin;
};

/// The published counts, or fewer where the file or the caller has fewer.
Split split_of(index_t samples, const DatasetOptions& o, index_t train, index_t test, bool test_last) {
  if (o.train_samples > 0) train = o.train_samples;
  if (o.test_samples > 0) test = o.test_samples;
  check(samples >= train + test,
        "[dataset] the file holds {} samples; {} for training and {} for testing were asked for",
        samples, train, test);
  return {train, test, test_last ? samples - test : train};
}

/// A structured set: coordinates X, Y [S,rows,cols] and one channel of Q [S,channels,rows,cols].
Dataset load_structured(const std::string& name, const std::filesystem::path& folder,
                        const std::string& prefix, index_t rows, index_t cols, index_t channel,
                        const DatasetOptions& options) {
  const Array X = read_shaped(folder / (prefix + "_X.npy"), {-1, rows, cols});
  const index_t samples = X.extent(0), n = rows * cols;
  const Array Y = read_shaped(folder / (prefix + "_Y.npy"), {samples, rows, cols});
  const std::filesystem::path q_file = folder / (prefix + "_Q.npy");
  const Array Q = read_shaped(q_file, {-1, -1, rows, cols});
  check(Q.extent(0) >= samples && Q.extent(1) > channel,
        "[dataset] {}: expected at least {} samples and {} channels, got {}", q_file.string(),
        samples, channel + 1, shape_text(Q.shape()));
  const std::vector<float> x = X.convert<float>(), y = Y.convert<float>(), q = Q.convert<float>();
  const index_t channels = Q.extent(1);

  const Split s = split_of(samples, options, 1000, 200, false);
  Dataset set;
  set.name = name;
  set.eval_batch = 5;
  const auto part = [&](index_t begin, index_t count) {
    PointSet p = PointSet::regular(count, n, 2, 1);
    p.grid = {rows, cols};
    for (index_t i = 0; i < count; ++i)
      for (index_t j = 0; j < n; ++j) {
        const auto from = static_cast<std::size_t>((begin + i) * n + j);
        const auto to = static_cast<std::size_t>(i * n + j);
        p.x[2 * to] = x[from], p.x[2 * to + 1] = y[from];
        p.y[to] = q[static_cast<std::size_t>(((begin + i) * channels + channel) * n + j)];
      }
    return p;
  };
  set.train = part(0, s.train);
  set.test = part(s.test_begin, s.test);
  return set;
}

}  // namespace

Dataset load_elasticity(const DatasetOptions& options) {
  const auto folder = options.root / "Geo-FNO/elasticity/Meshes";
  const Array sigma = read_shaped(folder / "Random_UnitCell_sigma_10.npy", {-1, -1});
  const index_t n = sigma.extent(0), samples = sigma.extent(1);
  const Array XY = read_shaped(folder / "Random_UnitCell_XY_10.npy", {n, 2, samples});
  const std::vector<float> stress = sigma.convert<float>(), xy = XY.convert<float>();
  const Split s = split_of(samples, options, 1000, 200, true);
  const auto part = [&](index_t begin, index_t count) {
    PointSet p = PointSet::regular(count, n, 2, 1);
    for (index_t i = 0; i < count; ++i)
      for (index_t j = 0; j < n; ++j) {
        const auto to = static_cast<std::size_t>(i * n + j);
        for (index_t c = 0; c < 2; ++c)
          p.x[2 * to + static_cast<std::size_t>(c)] =
              xy[static_cast<std::size_t>((j * 2 + c) * samples + begin + i)];
        p.y[to] = stress[static_cast<std::size_t>(j * samples + begin + i)];
      }
    return p;
  };
  Dataset set;
  set.name = "elasticity";
  set.eval_batch = 5;
  set.train = part(0, s.train);
  set.test = part(s.test_begin, s.test);
  normalize(set, false, true);
  return set;
}

Dataset load_airfoil(const DatasetOptions& options) {
  Dataset set = load_structured("airfoil_steady", options.root / "Geo-FNO/airfoil/naca",
                                "NACA_Cylinder", 221, 51, 4, options);
  normalize(set, false, true);
  return set;
}

Dataset load_pipe(const DatasetOptions& options) {
  Dataset set =
      load_structured("pipe", options.root / "Geo-FNO/pipe", "Pipe", 129, 129, 0, options);
  normalize(set, true, true);
  return set;
}

}  // namespace flr::data
