// make_cloud OUT.npz [POINTS] [SAMPLES] [SEED]: smooth fields on random closed surfaces, of any size.
//
//   make_cloud cloud.npz 1000000 5
//   pdebench --train true --dataset cloud.npz --device cuda --precision bf16 --num_latents 128
//
// A sample is a sphere whose radius is 1 + a few plane waves of the direction, with points spread
// evenly over the directions; inputs x [S,N,3] are the points, targets y [S,N,1] the field
// Σ aᵢ sin(kᵢ·x + φᵢ) with |kᵢ| ≤ 4 that the surface's own waves shift: what a model has to find out
// from the whole cloud. Both are float. Draws are a function of seed, sample and point.
#include <fmt/core.h>

#include <array>
#include <charconv>
#include <cmath>
#include <numbers>
#include <string_view>
#include <vector>

#include "flr/core/philox.hpp"
#include "flr/data/npz.hpp"

namespace {

using Vec = std::array<double, 3>;

double dot(const Vec& a, const Vec& b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

/// Four uniforms in [0, 1) for item `number` of a sample.
std::array<double, 4> draws(std::uint64_t seed, std::uint64_t sample, std::uint64_t number) {
  const auto words = flr::stream_block(seed, sample, 0, number);
  return {flr::uniform_float(words[0]), flr::uniform_float(words[1]), flr::uniform_float(words[2]),
          flr::uniform_float(words[3])};
}

/// A direction, evenly spread, from two uniforms.
Vec direction(double u, double v) {
  const double z = 2 * u - 1, r = std::sqrt(std::max(0.0, 1 - z * z));
  const double angle = 2 * std::numbers::pi * v;
  return {r * std::cos(angle), r * std::sin(angle), z};
}

struct Wave {
  Vec k;
  double phase, amplitude;
  double at(const Vec& x) const { return amplitude * std::sin(dot(k, x) + phase); }
};

/// The waves of a sample: first of its surface, then of its field.
struct Sample {
  static constexpr int waves = 6;
  std::array<Wave, waves> surface, field;

  Sample(std::uint64_t seed, std::uint64_t sample) {
    for (int i = 0; i < waves; ++i) {
      surface[i] = wave(seed, sample, 2 * i, 4, 0.08);
      // The field's waves are the same in all samples; the surface's phases shift them.
      field[i] = wave(seed, ~std::uint64_t{0}, 2 * i, 4, 0.5);
      field[i].phase += surface[i].phase;
    }
  }

 private:
  static Wave wave(std::uint64_t seed, std::uint64_t sample, std::uint64_t number, double longest,
                   double largest) {
    // Points are numbered from 0, waves from the other end.
    const auto a = draws(seed, sample, (std::uint64_t{1} << 33) + number);
    const auto b = draws(seed, sample, (std::uint64_t{1} << 33) + number + 1);
    Vec k = direction(a[0], a[1]);
    for (double& x : k) x *= longest * (0.25 + 0.75 * a[2]);
    return {k, 2 * std::numbers::pi * a[3], largest * (0.5 + 0.5 * b[0])};
  }
};

void fill(const Sample& s, std::uint64_t seed, std::uint64_t sample, std::int64_t points, float* x,
          float* y) {
  for (std::int64_t n = 0; n < points; ++n) {
    const auto u = draws(seed, sample, std::uint64_t(n));
    Vec p = direction(u[0], u[1]);
    double radius = 1, value = 0;
    for (const Wave& w : s.surface) radius += w.at(p);
    for (double& c : p) c *= radius;
    for (const Wave& w : s.field) value += w.at(p);
    for (int c = 0; c < 3; ++c) x[3 * n + c] = float(p[c]);
    y[n] = float(value);
  }
}

std::int64_t number(std::string_view text, const char* what, std::int64_t most) {
  std::int64_t n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  flr::check(error == std::errc() && end == text.data() + text.size() && n > 0 && n <= most,
             "{} is a number from 1 to {}; got '{}'", what, most, text);
  return n;
}

void run(int argc, char** argv) {
  flr::check(argc >= 2 && argc <= 5, "usage: make_cloud OUT.npz [POINTS] [SAMPLES] [SEED]");
  const std::int64_t points = argc > 2 ? number(argv[2], "POINTS", std::int64_t{1} << 32) : 100000;
  const std::int64_t samples = argc > 3 ? number(argv[3], "SAMPLES", 1000000) : 10;
  const std::uint64_t seed = argc > 4 ? std::uint64_t(number(argv[4], "SEED", std::int64_t{1} << 62)) : 1;
  using flr::data::Array;
  Array x = Array::uninitialized(flr::data::ElementType::f32, {samples, points, 3});
  Array y = Array::uninitialized(flr::data::ElementType::f32, {samples, points, 1});
  for (std::int64_t s = 0; s < samples; ++s)
    fill(Sample(seed, std::uint64_t(s)), seed, std::uint64_t(s), points,
         x.mutable_as<float>().data() + s * points * 3, y.mutable_as<float>().data() + s * points);
  flr::data::write_npz(argv[1], {{"x", std::move(x)}, {"y", std::move(y)}});
  fmt::print("wrote {}: {} samples of {} points\n", argv[1], samples, points);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "make_cloud: {}\n", error.what());
    return 1;
  }
}
