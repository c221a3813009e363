// Predictions over a whole set, and their error.
#pragma once

#include "flr/data/loader.hpp"
#include "flr/train/pde_loss.hpp"

namespace flr::train {

struct SetError {
  double relative_l2 = 0;          ///< mean over samples, decoded
  std::vector<double> per_sample;  ///< the same for each
};

/// Consecutive samples of equal size, `batch` at most together.
inline std::vector<std::vector<index_t>> evaluation_batches(const data::PointSet& set,
                                                            index_t batch) {
  std::vector<std::vector<index_t>> list;
  for (index_t i = 0; i < set.samples(); ++i) {
    const bool joins = !list.empty() && static_cast<index_t>(list.back().size()) < batch &&
                       set.points(list.back().front()) == set.points(i);
    if (joins) list.back().push_back(i);
    else list.push_back({i});
  }
  return list;
}

/// The error of a model on a set, computed in double on decoded fields.
template <Floating T>
SetError evaluate(models::Model<T>& model, const data::PointSet& set, const data::Normalizer& y_norm,
                  index_t batch) {
  NoGrad scope;
  const bool training = model.training();
  model.eval();
  const Device device = model.device();
  SetError error;
  for (auto& samples : evaluation_batches(set, batch)) {
    const data::Batch<T> b = data::make_batch<T>(set, samples);
    const std::vector<T> pred = model.apply(b.x.to(device)).to_vector(), target = b.y.to_vector();
    const std::size_t c = static_cast<std::size_t>(set.c_out), len = pred.size() / samples.size();
    for (std::size_t s = 0; s < samples.size(); ++s) {
      double difference = 0, norm = 0;
      for (std::size_t i = s * len; i < (s + 1) * len; ++i) {
        const double std = y_norm.std[i % c], mean = y_norm.mean[i % c];
        const double t = target[i] * std + mean, d = (pred[i] - static_cast<double>(target[i])) * std;
        difference += d * d;
        norm += t * t;
      }
      error.per_sample.push_back(std::sqrt(difference / norm));
      error.relative_l2 += error.per_sample.back();
    }
  }
  error.relative_l2 /= static_cast<double>(error.per_sample.size());
  model.train(training);
  return error;
}

/// Decoded predictions for every point of a set, [points, c_out] in the set's order.
template <Floating T>
std::vector<float> predict(models::Model<T>& model, const data::PointSet& set,
                           const data::Normalizer& y_norm, index_t batch) {
  NoGrad scope;
  const bool training = model.training();
  model.eval();
  const Device device = model.device();
  std::vector<float> all;
  for (auto& samples : evaluation_batches(set, batch)) {
    const Tensor<T> x = data::make_batch<T>(set, samples).x.to(device);
    const std::vector<T> y = model.apply(x).to_vector();
    for (T v : y) all.push_back(static_cast<float>(v));
  }
  y_norm.decode(all);
  model.train(training);
  return all;
}

}  // namespace flr::train
