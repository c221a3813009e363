#include "flr/data/point_set.hpp"

#include <cmath>

namespace flr::data {

bool PointSet::uniform() const {
  for (index_t i = 1; i < samples(); ++i)
    if (points(i) != points(0)) return false;
  return true;
}

PointSet PointSet::select(const std::vector<index_t>& chosen) const {
  PointSet part;
  part.c_in = c_in, part.c_out = c_out, part.grid = grid;
  for (index_t i : chosen) {
    check(i >= 0 && i < samples(), "[data] sample {} does not exist; there are {}", i, samples());
    const index_t begin = offsets[static_cast<std::size_t>(i)], n = points(i);
    part.x.insert(part.x.end(), x.begin() + begin * c_in, x.begin() + (begin + n) * c_in);
    if (has_targets())
      part.y.insert(part.y.end(), y.begin() + begin * c_out, y.begin() + (begin + n) * c_out);
    part.offsets.push_back(part.offsets.back() + n);
  }
  return part;
}

PointSet PointSet::regular(index_t samples, index_t points, index_t c_in, index_t c_out) {
  PointSet set;
  set.c_in = c_in, set.c_out = c_out;
  for (index_t i = 1; i <= samples; ++i) set.offsets.push_back(i * points);
  set.x.resize(static_cast<std::size_t>(samples * points * c_in));
  set.y.resize(static_cast<std::size_t>(samples * points * c_out));
  return set;
}

Normalizer Normalizer::identity(index_t channels) {
  const auto n = static_cast<std::size_t>(channels);
  return {std::vector<double>(n, 0), std::vector<double>(n, 1)};
}

Normalizer Normalizer::gaussian(const std::vector<float>& v, index_t channels) {
  const auto c = static_cast<std::size_t>(channels);
  check(c > 0 && v.size() >= 2 * c, "[normalizer] expected at least two values per channel, got {}",
        c ? v.size() / c : 0);
  const double n = static_cast<double>(v.size() / c);
  Normalizer result{std::vector<double>(c, 0), std::vector<double>(c, 0)};
  for (std::size_t i = 0; i < v.size(); ++i) result.mean[i % c] += v[i];
  for (double& m : result.mean) m /= n;
  for (std::size_t i = 0; i < v.size(); ++i) {
    const double d = v[i] - result.mean[i % c];
    result.std[i % c] += d * d;
  }
  for (double& s : result.std) s = std::sqrt(s / (n - 1)) + 1e-8;
  return result;
}

void Normalizer::encode(std::vector<float>& v) const {
  const std::size_t c = mean.size();
  for (std::size_t i = 0; i < v.size(); ++i)
    v[i] = static_cast<float>((v[i] - mean[i % c]) / std[i % c]);
}

void Normalizer::decode(std::vector<float>& v) const {
  const std::size_t c = mean.size();
  for (std::size_t i = 0; i < v.size(); ++i)
    v[i] = static_cast<float>(v[i] * std[i % c] + mean[i % c]);
}

bool Normalizer::is_identity() const {
  for (double m : mean)
    if (m != 0) return false;
  for (double s : std)
    if (s != 1) return false;
  return true;
}

}  // namespace flr::data
