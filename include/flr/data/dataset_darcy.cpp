// Darcy flow: the published 421² set (or one that make_darcy wrote), and the small 16² and 32² set.
#include "flr/data/dataset.hpp"
#include "flr/data/mat5.hpp"
#include "flr/data/npz.hpp"

namespace flr::data {

namespace {

/// The file of one half, whatever its grid and count: piececonst_r<s>_N<n>_smooth<half>.mat.
std::filesystem::path find_half(const std::filesystem::path& folder, int half) {
  const std::string ending = fmt::format("_smooth{}.mat", half);
  const auto published = folder / fmt::format("piececonst_r421_N1024_smooth{}.mat", half);
  if (std::filesystem::exists(published)) return published;
  std::vector<std::filesystem::path> found;
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator(folder, none)) {
    const std::string file = entry.path().filename().string();
    if (file.starts_with("piececonst_r") && file.ends_with(ending)) found.push_back(entry.path());
  }
  check(found.size() == 1,
        "[dataset] expected {} (make_darcy writes one), or one other piececonst_r*{} beside it; "
        "found {}", published.string(), ending, found.size());
  return found[0];
}

double coordinate(index_t i, index_t n, index_t stride, index_t s, DarcyCoordinates kind) {
  if (kind == DarcyCoordinates::cells)
    return (static_cast<double>(i * stride) + 0.5) / static_cast<double>(s);
  return static_cast<double>(i) / static_cast<double>(n - 1);
}

/// Points (x, y, coefficient) → solution, from fields [S,s,s] sampled every `stride`.
PointSet sample_fields(const std::vector<float>& coeff, const std::vector<float>& sol, index_t count,
                       index_t s, index_t stride, index_t full, index_t full_stride,
                       DarcyCoordinates kind) {
  const index_t n = (s - 1) / stride + 1;
  PointSet p = PointSet::regular(count, n * n, 3, 1);
  p.grid = {n, n};
  for (index_t k = 0; k < count; ++k)
    for (index_t i = 0; i < n; ++i)
      for (index_t j = 0; j < n; ++j) {
        const auto to = static_cast<std::size_t>((k * n + i) * n + j);
        const auto from = static_cast<std::size_t>((k * s + i * stride) * s + j * stride);
        p.x[3 * to] = static_cast<float>(coordinate(i, n, full_stride, full, kind));
        p.x[3 * to + 1] = static_cast<float>(coordinate(j, n, full_stride, full, kind));
        p.x[3 * to + 2] = coeff[from];
        p.y[to] = sol[from];
      }
  return p;
}

/// Normalises coefficient and solution; coordinates stay as they are.
void normalize_darcy(Dataset& set) {
  normalize(set, false, true);
  std::vector<float> coefficient(set.train.x.size() / 3);
  for (std::size_t i = 0; i < coefficient.size(); ++i) coefficient[i] = set.train.x[3 * i + 2];
  const Normalizer c = Normalizer::gaussian(coefficient, 1);
  set.x_norm.mean[2] = c.mean[0], set.x_norm.std[2] = c.std[0];
  set.x_norm.encode(set.train.x);
  set.x_norm.encode(set.test.x);
  set.picture_channel = 2;
  set.eval_batch = 5;
}

}  // namespace

Dataset load_darcy(const DatasetOptions& options) {
  const auto folder = options.root / "FNO/darcy";
  index_t n = 0;
  const auto half = [&](int which, index_t wanted) {
    const auto file = find_half(folder, which);
    const MatFile mat(file);
    for (const char* name : {"coeff", "sol"})
      check(mat.contains(name), "[dataset] {}: there is no variable '{}'", file.string(), name);
    const Array coeff = mat.read("coeff", ElementType::f32), sol = mat.read("sol", ElementType::f32);
    check(coeff.rank() == 3 && coeff.extent(1) == coeff.extent(2) && coeff.shape() == sol.shape(),
          "[dataset] {}: expected coeff and sol [S,s,s], got {} and {}", file.string(),
          shape_text(coeff.shape()), shape_text(sol.shape()));
    const index_t samples = coeff.extent(0), s = coeff.extent(1);
    // A grid that make_darcy --downsample wrote has been sampled already.
    const index_t stride = options.darcy_stride != 0 ? options.darcy_stride : s == 421 ? 5 : 1;
    check(stride >= 1 && (s - 1) / stride >= 2, "[dataset] a stride of {} leaves less than 3 of {} "
          "grid lines", stride, s);
    check(samples >= wanted || wanted <= 0,
          "[dataset] {}: {} samples were asked for, the file holds {}", file.string(), wanted,
          samples);
    const index_t published = which == 1 ? 1000 : 200;
    const index_t count = wanted > 0 ? wanted : std::min(samples, published);
    n = (s - 1) / stride + 1;
    return sample_fields(coeff.convert<float>(), sol.convert<float>(), count, s, stride, s, stride,
                         options.darcy_coordinates);
  };
  Dataset set;
  set.name = "darcy";
  set.train = half(1, options.train_samples);
  set.test = half(2, options.test_samples);
  check(set.train.grid == set.test.grid, "[dataset] darcy: the training grid has {} lines, the test "
        "grid {}", set.train.grid[0], set.test.grid[0]);
  normalize_darcy(set);
  set.derivative_loss = true;
  set.derivative_step = 1.0 / static_cast<double>(options.legacy ? n : n - 1);
  return set;
}

Dataset load_darcy_small(const DatasetOptions& options, index_t test_grid) {
  // Every 32nd (16²) and every 16th (32²) line of a 512² grid of cells, as its boundary layers show.
  const NpzFile file(options.root / "darcy_small/darcy_small_f32.npz");
  const auto part = [&](const std::string& prefix, index_t n, index_t wanted) {
    const Array x = file.read(prefix + "_x"), y = file.read(prefix + "_y");
    const std::vector<std::int64_t> expected{x.extent(0), n, n};
    check(x.shape() == expected && y.shape() == expected,
          "[dataset] darcy_small: expected {0}_x and {0}_y of shape [S,{1},{1}], got {2} and {3}",
          prefix, n, shape_text(x.shape()), shape_text(y.shape()));
    check(wanted <= x.extent(0), "[dataset] darcy_small: {} samples were asked for, {} holds {}",
          wanted, prefix, x.extent(0));
    std::vector<float> coeff = x.convert<float>();
    for (float& a : coeff) a = a != 0 ? 12.0f : 3.0f;
    return sample_fields(coeff, y.convert<float>(), wanted > 0 ? wanted : x.extent(0), n, 1, 512,
                         512 / n, options.darcy_coordinates);
  };
  Dataset set;
  set.name = "darcy_small";
  set.train = part("train", 16, options.train_samples);
  set.test = part(test_grid == 16 ? "test" : "test32", test_grid, options.test_samples);
  normalize_darcy(set);
  return set;
}

}  // namespace flr::data
