#include <algorithm>
#include <numeric>
#include <span>

#include "flr/data/npz.hpp"
#include "flr/data/vtk.hpp"
#include "flr/train/picture.hpp"
#include "flr/train/png.hpp"
#include "output.hpp"
#include "statistics.hpp"

namespace pdebench {

using namespace flr;
using data::Array;

namespace {

// One test sample, decoded.
struct Sample {
  index_t points = 0, c_in = 0, c_out = 0, dims = 0;
  std::span<const float> x, truth, prediction;

  std::vector<float> column(std::span<const float> values, index_t channels, index_t c) const {
    std::vector<float> out;
    for (index_t i = 0; i < points; ++i)
      out.push_back(values[static_cast<std::size_t>(i * channels + c)]);
    return out;
  }
  std::vector<float> coordinates() const {
    std::vector<float> out;
    for (index_t i = 0; i < points; ++i)
      for (index_t d = 0; d < dims; ++d) out.push_back(x[static_cast<std::size_t>(i * c_in + d)]);
    return out;
  }
};

// Coordinates that lie on an even grid are drawn as one.
bool even_grid(const data::Dataset& set) {
  return set.picture_channel && set.test.grid.size() == 2;
}

train::Image draw(const data::Dataset& set, const Sample& s) {
  const std::vector<index_t>& grid = set.test.grid;
  const std::vector<float> at = s.coordinates();
  const bool structured = grid.size() == 2 && s.dims == 2;
  const train::FieldLayout layout = even_grid(set) ? train::FieldLayout::grid(grid[0], grid[1])
                                    : structured   ? train::FieldLayout::mesh(grid[0], grid[1], at)
                                                   : train::FieldLayout::points(at, s.dims);
  train::PictureOptions options;
  options.smooth = even_grid(set) && grid[0] < 64;
  // The airfoil's mesh reaches forty chords out; what happens, happens around it.
  if (set.name == "airfoil_steady") options.window = train::Window{-0.5, 1.5, -1, 1};
  std::vector<float> input;
  const index_t channel = set.picture_channel.value_or(s.dims);
  if (channel < s.c_in) input = s.column(s.x, s.c_in, channel);
  return train::draw_prediction(layout, input, s.column(s.truth, s.c_out, 0),
                                s.column(s.prediction, s.c_out, 0), options,
                                set.picture_channel ? "coefficient" : "input");
}

void write_fields(const std::filesystem::path& stem, const data::Dataset& set, const Sample& s) {
  const std::vector<index_t>& grid = set.test.grid;
  const bool structured = grid.size() == 2 && s.dims == 2;
  const std::vector<std::int64_t> extents = structured ? std::vector<std::int64_t>{grid[0], grid[1]}
                                                       : std::vector<std::int64_t>{s.points};
  const auto array = [&](const std::vector<float>& values, index_t channels) {
    std::vector<std::int64_t> shape = extents;
    if (channels > 1) shape.push_back(channels);
    return Array(values, shape);
  };
  const std::vector<float> truth(s.truth.begin(), s.truth.end()),
      prediction(s.prediction.begin(), s.prediction.end());
  std::vector<float> error(truth.size());
  for (std::size_t i = 0; i < error.size(); ++i) error[i] = prediction[i] - truth[i];
  data::VtkFields fields;
  fields["truth"] = array(truth, s.c_out);
  fields["prediction"] = array(prediction, s.c_out);
  fields["error"] = array(error, s.c_out);
  for (index_t c = s.dims; c < s.c_in; ++c)
    fields[fmt::format("input{}", c)] = array(s.column(s.x, s.c_in, c), 1);

  // A line of points is drawn in the plane.
  std::vector<float> at = s.coordinates();
  if (s.dims == 1) {
    at.clear();
    for (float v : s.coordinates()) at.insert(at.end(), {v, 0.0f});
  }
  std::vector<std::int64_t> shape = extents;
  shape.push_back(std::max<index_t>(2, s.dims));
  const Array points(at, shape);
  if (structured) return data::write_vts(stem.string() + ".vts", points, fields);
  const auto corners = static_cast<std::int64_t>(set.triangles.size());
  data::write_vtu(
      stem.string() + ".vtu", points, fields,
      corners > 0 ? Array(set.triangles, {corners / 3, 3}) : Array(data::ElementType::i64, {0, 1}));
}

void write_npz(const std::filesystem::path& file, const data::PointSet& test,
               const std::vector<float>& prediction, const std::vector<float>& truth) {
  std::map<std::string, Array> arrays;
  std::vector<std::int64_t> shape{test.offsets.back(), test.c_out};
  if (test.uniform())
    shape = {test.samples(), test.points(0), test.c_out};
  else
    arrays["offsets"] = Array(test.offsets, {test.samples() + 1});
  arrays["prediction"] = Array(prediction, shape);
  arrays["truth"] = Array(truth, shape);
  data::write_npz(file, arrays);
}

void make_folder(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directory(folder, error);
  check(!error, "{} cannot be created: {}", folder.string(), error.message());
}

}  // namespace

void write_predictions(const std::filesystem::path& folder, const data::Dataset& set,
                       const std::vector<float>& prediction, std::int64_t data_dims) {
  const data::PointSet& test = set.test;
  std::vector<float> x = test.x, truth = test.y;
  set.x_norm.decode(x);
  set.y_norm.decode(truth);
  write_npz(folder / "predictions.npz", test, prediction, truth);

  const std::vector<double> errors = sample_errors(test, prediction, truth);
  std::vector<std::size_t> order(errors.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return errors[a] < errors[b]; });
  make_folder(folder / "pictures");
  make_folder(folder / "fields");
  // Which inputs are coordinates: as told, else those in front of the channel that pictures show.
  const index_t dims = data_dims > 0         ? data_dims
                       : set.picture_channel ? *set.picture_channel
                                             : std::min<index_t>(3, test.c_in);
  check(dims <= test.c_in, "--data_dims: {} coordinates of {} inputs", dims, test.c_in);
  for (const auto& [name, at] : {std::pair{"best", order.front()},
                                 {"median", order[order.size() / 2]},
                                 {"worst", order.back()}}) {
    const auto begin = static_cast<std::size_t>(test.offsets[at]);
    Sample s{test.points(static_cast<index_t>(at)), test.c_in, test.c_out, dims, {}, {}, {}};
    const auto rows = [&](const std::vector<float>& v, index_t channels) {
      const auto c = static_cast<std::size_t>(channels);
      return std::span(v).subspan(begin * c, static_cast<std::size_t>(s.points) * c);
    };
    s.x = rows(x, s.c_in), s.truth = rows(truth, s.c_out), s.prediction = rows(prediction, s.c_out);
    const auto picture = folder / "pictures" / (std::string(name) + ".png");
    train::write_png(picture, draw(set, s));
    write_fields(folder / "fields" / name, set, s);
    fmt::print("{:<7}  test sample {}, relative L2 {:.4g}: {}\n", name, at, errors[at],
               picture.string());
  }
}

}  // namespace pdebench
