#include "problem.hpp"

#include <cmath>

#include "flr/data/safetensors.hpp"

namespace pdebench {

using namespace flr;

namespace {

data::DatasetOptions dataset_options(const Options& o) {
  data::DatasetOptions d;
  d.root = o.data_root;
  d.train_samples = o.train_samples, d.test_samples = o.test_samples;
  d.darcy_stride = o.darcy_stride;
  d.darcy_coordinates = o.darcy_coordinates == "cells" ? data::DarcyCoordinates::cells
                                                       : data::DarcyCoordinates::linspace;
  d.legacy = !o.darcy_true_spacing;
  d.x_key = o.data_x, d.y_key = o.data_y, d.split = o.data_split;
  d.normalize_x = o.data_normalize_x;
  return d;
}

bool same(const data::Normalizer& a, const data::Normalizer& b) {
  return a.mean == b.mean && a.std == b.std;
}

constexpr const char* file_name = "normalizer.safetensors";

}  // namespace

data::Dataset load_problem(const Options& options) {
  return data::load_dataset(options.dataset, dataset_options(options));
}

data::Dataset load_test_set(const Options& options, const data::Dataset& training) {
  data::DatasetOptions d = dataset_options(options);
  if (!options.test_data_root.empty()) d.root = options.test_data_root;
  if (options.test_darcy_stride > 0) d.darcy_stride = options.test_darcy_stride;
  d.train_samples = 0;  // only the test half counts
  data::Dataset set = data::load_dataset(options.test_dataset, d);
  check(set.test.c_in == training.train.c_in && set.test.c_out == training.train.c_out,
        "--test_dataset: {} has {} inputs and {} outputs a point, {} was trained with {} and {}",
        options.test_dataset, set.test.c_in, set.test.c_out, options.exp_name, training.train.c_in,
        training.train.c_out);
  if (!same(set.x_norm, training.x_norm)) {
    set.x_norm.decode(set.test.x);
    training.x_norm.encode(set.test.x);
  }
  if (!same(set.y_norm, training.y_norm)) {
    set.y_norm.decode(set.test.y);
    training.y_norm.encode(set.test.y);
  }
  set.x_norm = training.x_norm, set.y_norm = training.y_norm;
  return set;
}

void save_normalizers(const std::filesystem::path& folder, const Normalizers& n) {
  data::SafeTensors file;
  const auto put = [&](const char* name, const std::vector<double>& v) {
    file.tensors[name] = data::Array(v, {static_cast<std::int64_t>(v.size())});
  };
  put("x_mean", n.x.mean), put("x_std", n.x.std);
  put("y_mean", n.y.mean), put("y_std", n.y.std);
  data::write_safetensors(folder / file_name, file);
}

Normalizers load_normalizers(const std::filesystem::path& folder) {
  const data::SafeTensors file = data::read_safetensors(folder / file_name);
  const auto get = [&](const std::string& part) {
    data::Normalizer n{file.at(part + "_mean").convert<double>(),
                       file.at(part + "_std").convert<double>()};
    check(!n.mean.empty() && n.mean.size() == n.std.size(),
          "{}: expected as many means as deviations for {}", (folder / file_name).string(), part);
    return n;
  };
  return {get("x"), get("y")};
}

void check_same_data(const std::filesystem::path& folder, const data::Dataset& set) {
  const Normalizers then = load_normalizers(folder);
  const auto close = [](const std::vector<double>& a, const std::vector<double>& b) {
    bool all = a.size() == b.size();
    for (std::size_t i = 0; all && i < a.size(); ++i)
      all = std::abs(a[i] - b[i]) <= 1e-6 * (std::abs(a[i]) + std::abs(b[i]));
    return all;
  };
  check(close(then.x.mean, set.x_norm.mean) && close(then.x.std, set.x_norm.std) &&
            close(then.y.mean, set.y_norm.mean) && close(then.y.std, set.y_norm.std),
        "the training set {} is not the one that {} began with: its mean or deviation differs",
        set.name, folder.string());
}

}  // namespace pdebench
