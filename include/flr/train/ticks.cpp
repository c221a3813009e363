#include "flr/train/ticks.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "flr/core/error.hpp"

namespace flr::train {

namespace {

constexpr const char* minus = "\u2212";

std::string with_minus(std::string text) {
  if (const auto at = text.find('-'); at != std::string::npos) text.replace(at, 1, minus);
  return text;
}

std::string superscript(int n) {
  static const char* digits[] = {"\u2070", "\u00b9", "\u00b2", "\u00b3", "\u2074",
                                 "\u2075", "\u2076", "\u2077", "\u2078", "\u2079"};
  std::string out = n < 0 ? "\u207b" : "";
  for (const char c : std::to_string(std::abs(n))) out += digits[c - '0'];
  return out;
}

std::string power_label(double mantissa, int exponent, bool in_full) {
  if (in_full)
    return fmt::format("{:.{}f}", mantissa * std::pow(10.0, exponent), std::max(0, -exponent));
  const std::string power = "10" + superscript(exponent);
  return mantissa == 1 ? power : fmt::format("{:.0f}\u00b7{}", mantissa, power);
}

// The exponent of the marks' last digit decides how many decimals all of them show.
std::string linear_label(double value, double step, double largest) {
  const int digits = std::max(0, -static_cast<int>(std::floor(std::log10(step) + 1e-9)));
  if (largest >= 1e6 || digits > 4) {
    if (value == 0) return "0";
    const int exponent = static_cast<int>(std::floor(std::log10(std::abs(value)) + 1e-9));
    return with_minus(fmt::format("{:.3g}\u00b7", value / std::pow(10.0, exponent))) + "10" +
           superscript(exponent);
  }
  return with_minus(fmt::format("{:.{}f}", value, digits));
}

}  // namespace

Ticks linear_ticks(double low, double high, int wanted, bool widen) {
  check(std::isfinite(low) && std::isfinite(high) && low <= high && wanted > 0,
        "[plot] expected an axis from low to high; got {} to {}", low, high);
  if (!(high - low > 1e-12 * std::max(std::abs(low), std::abs(high)))) {
    const double half = low == 0 ? 1 : 0.5 * std::abs(low);  // one value sits in the middle
    low -= half;
    high += half;
  }
  const double rough = (high - low) / wanted;
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (const double m : {5.0, 2.0, 1.0})
    if (m * power >= rough * 0.999) step = m * power;
  const double slack = 1e-9;
  const double first = widen ? std::floor(low / step + slack) : std::ceil(low / step - slack);
  const double last = widen ? std::ceil(high / step - slack) : std::floor(high / step + slack);
  Ticks ticks{widen ? first * step : low, widen ? last * step : high, {}, {}};
  const double largest = std::max(std::abs(ticks.low), std::abs(ticks.high));
  for (double k = first; k <= last; ++k) {
    const double at = k == 0 ? 0 : k * step;  // k may be -0, which would print so
    ticks.at.push_back(at);
    ticks.labels.push_back(linear_label(at, step, largest));
  }
  return ticks;
}

Ticks log_ticks(double low, double high, int wanted, bool widen) {
  check(low > 0 && std::isfinite(high) && low <= high && wanted > 0,
        "[plot] expected a logarithmic axis from a positive low to high; got {} to {}", low, high);
  if (!(high > low * (1 + 1e-12))) {
    low /= 2;  // one value sits in the middle
    high *= 2;
  }
  const double slack = 1e-9;
  const int first = static_cast<int>(std::floor(std::log10(low) + slack));
  const int last = static_cast<int>(std::ceil(std::log10(high) - slack));
  struct Mark {
    double mantissa;
    int exponent;
    double at;
  };
  std::vector<Mark> marks;
  for (int e = first; e <= last; ++e)
    for (const double m : {1.0, 2.0, 5.0}) marks.push_back({m, e, m * std::pow(10.0, e)});
  Ticks ticks{low, high, {}, {}};
  if (widen) {
    for (const Mark& mark : marks)
      if (mark.at <= low * (1 + slack)) ticks.low = mark.at;
    for (auto mark = marks.rbegin(); mark != marks.rend(); ++mark)
      if (mark->at >= high * (1 - slack)) ticks.high = mark->at;
  }
  const bool few = std::log10(high / low) < 2;
  const int every = few ? 1 : std::max(1, (last - first + wanted - 1) / wanted);
  const bool in_full = first >= -3 && last <= 4;
  for (const Mark& mark : marks) {
    if (mark.at < ticks.low * (1 - slack) || mark.at > ticks.high * (1 + slack)) continue;
    if (!few && (mark.mantissa != 1 || mark.exponent % every != 0)) continue;
    ticks.at.push_back(mark.at);
    ticks.labels.push_back(power_label(mark.mantissa, mark.exponent, in_full));
  }
  if (ticks.at.size() < 2) {  // too narrow for round numbers: say where it begins and ends
    ticks.at = {ticks.low, ticks.high};
    ticks.labels = {fmt::format("{:.3g}", ticks.low), fmt::format("{:.3g}", ticks.high)};
  }
  return ticks;
}

}  // namespace flr::train
