#include "flr/train/colormap.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

namespace flr::train {

namespace {

struct Oklab {
  double L, a, b;
};

Oklab from_polar(double lightness, double chroma, double degrees) {
  const double angle = degrees * std::numbers::pi / 180;
  return {lightness, chroma * std::cos(angle), chroma * std::sin(angle)};
}

double distance(Oklab p, Oklab q) {
  return std::hypot(p.L - q.L, p.a - q.a, p.b - q.b);
}

// The two curves' numbers keep them just inside the sRGB gamut, so that nothing is clipped.
Oklab sequential(double t) {
  const double side = 2 * t - 1;
  const double chroma = 0.095 + (t < 0.5 ? 0.035 : 0.09) * side * side;
  return from_polar(0.28 + 0.62 * t, chroma, 310 - 205 * t);
}

Oklab diverging(double t) {
  const double side = std::abs(2 * t - 1);
  const double chroma = 0.14 * side * (2 - side);
  return from_polar(0.97 - 0.52 * side, chroma, t < 0.5 ? 255 : 28);
}

std::uint8_t channel(double linear) {
  const double x = std::clamp(linear, 0.0, 1.0);
  const double encoded = x <= 0.0031308 ? 12.92 * x : 1.055 * std::pow(x, 1 / 2.4) - 0.055;
  return static_cast<std::uint8_t>(std::lround(255 * encoded));
}

Rgb to_srgb(Oklab p) {
  const auto cube = [](double x) { return x * x * x; };
  const double l = cube(p.L + 0.3963377774 * p.a + 0.2158037573 * p.b);
  const double m = cube(p.L - 0.1055613458 * p.a - 0.0638541728 * p.b);
  const double s = cube(p.L - 0.0894841775 * p.a - 1.2914855480 * p.b);
  return {channel(4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s),
          channel(-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s),
          channel(-0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s)};
}

using Table = std::array<Rgb, 256>;

// Samples a curve at equal arc lengths: walk it in fine steps, then invert the length.
Table equal_steps(Oklab (*curve)(double)) {
  constexpr std::size_t fine = 4096;
  std::array<double, fine + 1> length{};
  for (std::size_t i = 1; i <= fine; ++i)
    length[i] = length[i - 1] + distance(curve(double(i - 1) / fine), curve(double(i) / fine));
  Table table;
  for (std::size_t k = 0; k < table.size(); ++k) {
    const double target = length[fine] * double(k) / double(table.size() - 1);
    const auto found = std::lower_bound(length.begin(), length.end(), target);
    table[k] =
        to_srgb(curve(double(std::min<std::ptrdiff_t>(found - length.begin(), fine)) / fine));
  }
  return table;
}

}  // namespace

Rgb colour(Colormap map, double t) {
  static const Table tables[] = {equal_steps(sequential), equal_steps(diverging)};
  if (std::isnan(t)) return {160, 160, 160};
  const auto entry = static_cast<std::size_t>(std::lround(255 * std::clamp(t, 0.0, 1.0)));
  return tables[map == Colormap::diverging ? 1 : 0][entry];
}

}  // namespace flr::train
