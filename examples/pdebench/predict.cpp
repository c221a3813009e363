#include <fmt/ranges.h>

#include "flr/data/npz.hpp"
#include "flr/train/evaluate.hpp"
#include "machine.hpp"
#include "problem.hpp"
#include "require_checkpoint.hpp"
#include "run.hpp"
#include "trained.hpp"

namespace pdebench {

using namespace flr;

int predict(const Options& o) {
  program::set_up_machine(o);
  const auto checkpoint = program::require_checkpoint(o);
  const Normalizers norm = load_normalizers(o.folder());
  const auto c_in = static_cast<index_t>(norm.x.mean.size());
  const auto c_out = static_cast<index_t>(norm.y.mean.size());
  data::PointSet set = data::load_npz_points(o.predict, o.data_x);
  check(set.c_in == c_in, "{}: '{}' has {} inputs a point, {} was trained with {}", o.predict,
        o.data_x, set.c_in, o.exp_name, c_in);
  norm.x.encode(set.x);

  const auto model = load_model(o, checkpoint, o.weights, c_in, c_out);
  const std::vector<float> prediction = train::predict(*model, set, norm.y, 1);
  std::map<std::string, data::Array> arrays;
  std::vector<std::int64_t> shape{set.offsets.back(), c_out};
  if (set.uniform())
    shape = {set.samples(), set.points(0), c_out};
  else
    arrays["offsets"] = data::Array(set.offsets, {set.samples() + 1});
  arrays["prediction"] = data::Array(prediction, shape);

  std::filesystem::path file = o.out_file;
  if (file.empty())
    file = o.folder() / (std::filesystem::path(o.predict).stem().string() + "_prediction.npz");
  data::write_npz(file, arrays);
  fmt::print("checkpoint {}\n", checkpoint.string());
  fmt::print("results in {}: prediction [{}]\n", file.string(), fmt::join(shape, ","));
  return 0;
}

}  // namespace pdebench
