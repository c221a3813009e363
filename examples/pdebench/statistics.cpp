#include "statistics.hpp"

#include <cmath>
#include <limits>

#include "flr/core/parallel.hpp"
#include "flr/train/evaluate.hpp"

namespace pdebench {

using namespace flr;

Errors measure(models::Model<float>& model, const data::Dataset& set) {
  return {train::evaluate(model, set.train, set.y_norm, set.eval_batch).relative_l2,
          train::evaluate(model, set.test, set.y_norm, set.eval_batch).relative_l2};
}

namespace {

// Sum of squared differences of two rows; stops early once it is beyond `enough`.
double distance(const float* a, const float* b, index_t n, double enough) {
  double sum = 0;
  for (index_t start = 0; start < n && sum <= enough; start += 512) {
    const index_t end = std::min(n, start + 512);
    float part = 0;  // 512 terms: as exact as its inputs
    for (index_t i = start; i < end; ++i) part += (a[i] - b[i]) * (a[i] - b[i]);
    sum += static_cast<double>(part);
  }
  return sum;
}

double relative(const float* pred, const float* truth, index_t n) {
  double difference = 0, norm = 0;
  for (index_t i = 0; i < n; ++i) {
    const double t = static_cast<double>(truth[i]), d = static_cast<double>(pred[i]) - t;
    difference += d * d;
    norm += t * t;
  }
  return std::sqrt(difference / norm);
}

double mean(const std::vector<double>& v) {
  double sum = 0;
  for (double x : v) sum += x;
  return sum / static_cast<double>(v.size());
}

}  // namespace

std::vector<double> sample_errors(const data::PointSet& test, const std::vector<float>& pred,
                                  const std::vector<float>& truth) {
  std::vector<double> errors;
  for (index_t i = 0; i < test.samples(); ++i) {
    const index_t begin = test.offsets[static_cast<std::size_t>(i)] * test.c_out;
    errors.push_back(
        relative(pred.data() + begin, truth.data() + begin, test.points(i) * test.c_out));
  }
  return errors;
}

std::optional<Baselines> baselines(const data::Dataset& set) {
  const data::PointSet &train = set.train, &test = set.test;
  if (!train.uniform() || !test.uniform() || train.points(0) != test.points(0)) return {};
  const index_t nx = train.points(0) * train.c_in, ny = train.points(0) * train.c_out;
  std::vector<float> known = train.y, truth = test.y;
  set.y_norm.decode(known);
  set.y_norm.decode(truth);

  std::vector<double> sum(static_cast<std::size_t>(ny), 0);
  for (std::size_t i = 0; i < known.size(); ++i) sum[i % sum.size()] += known[i];
  std::vector<float> field;
  for (double s : sum)
    field.push_back(static_cast<float>(s / static_cast<double>(train.samples())));

  std::vector<double> of_mean(static_cast<std::size_t>(test.samples())), of_nearest = of_mean;
  parallel_for(test.samples(), [&](index_t s) {
    double best = std::numeric_limits<double>::infinity();
    index_t nearest = 0;
    for (index_t k = 0; k < train.samples(); ++k) {
      const double d = distance(test.x.data() + s * nx, train.x.data() + k * nx, nx, best);
      if (d < best) best = d, nearest = k;
    }
    const auto at = static_cast<std::size_t>(s);
    of_mean[at] = relative(field.data(), truth.data() + s * ny, ny);
    of_nearest[at] = relative(known.data() + nearest * ny, truth.data() + s * ny, ny);
  });
  return Baselines{mean(of_mean), mean(of_nearest)};
}

void print_baselines(const data::Dataset& set) {
  if (const auto b = baselines(set))
    fmt::print(
        "baselines on the test set, relative L2: mean field {:.4g}, nearest training sample "
        "{:.4g}\n",
        b->mean_field, b->nearest_sample);
  else
    fmt::print("baselines: none, training and test samples differ in their number of points\n");
}

std::string describe(const train::RelativeErrors& e) {
  std::string text = fmt::format("train {:.4g}, test {:.4g}", e.train, e.test);
  if (e.ema_train && e.ema_test)
    text += fmt::format(" (EMA weights: {:.4g}, {:.4g})", *e.ema_train, *e.ema_test);
  return text;
}

}  // namespace pdebench
