// Line charts as SVG, and the marks of their axes.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "flr/core/error.hpp"
#include "flr/train/svg_plot.hpp"
#include "flr/train/ticks.hpp"

using namespace flr;
using namespace flr::train;

namespace {

// Every tag is closed in order and every attribute quoted: what an XML reader insists on.
bool well_formed(const std::string& xml) {
  std::vector<std::string> open;
  for (std::size_t at = 0; (at = xml.find('<', at)) != xml.npos;) {
    const std::size_t end = xml.find('>', at);
    if (end == xml.npos) return false;
    const std::string tag = xml.substr(at + 1, end - at - 1);
    if (std::count(tag.begin(), tag.end(), '"') % 2 != 0 || tag.find('<') != tag.npos) return false;
    const std::string name = tag.substr(0, tag.find(' '));
    if (name[0] == '/') {
      if (open.empty() || open.back() != name.substr(1)) return false;
      open.pop_back();
    } else if (tag.back() != '/') {
      open.push_back(name);
    }
    at = end;
  }
  return open.empty();
}

std::size_t count(const std::string& text, const std::string& what) {
  std::size_t n = 0;
  for (std::size_t at = 0; (at = text.find(what, at)) != text.npos; ++at) ++n;
  return n;
}

}  // namespace

TEST_CASE("marks of axes") {
  const Ticks even = linear_ticks(0.3, 9.2, 5);
  CHECK(even.labels == std::vector<std::string>{"0", "2", "4", "6", "8", "10"});
  CHECK(even.low == 0);
  CHECK(even.high == doctest::Approx(10));
  CHECK(linear_ticks(-0.2, 0.2, 4).labels ==
        std::vector<std::string>{"−0.2", "−0.1", "0.0", "0.1", "0.2"});
  CHECK(linear_ticks(0, 19999, 7, false).labels ==
        std::vector<std::string>{"0", "5000", "10000", "15000"});
  CHECK(linear_ticks(5, 5, 4).at.size() >= 2);
  CHECK(log_ticks(2e-8, 0.5, 10).labels.front() == "10⁻⁷");
  CHECK(log_ticks(0.0012, 0.8, 10).labels == std::vector<std::string>{"0.001", "0.01", "0.1", "1"});
  CHECK(log_ticks(0.034, 0.061, 5).labels == std::vector<std::string>{"0.02", "0.05", "0.1"});
  CHECK(log_ticks(3, 3, 5).at.size() >= 2);
  CHECK(log_ticks(1e-300, 1e300, 6).at.size() <= 8);
  CHECK_THROWS_AS(log_ticks(0, 1, 5), Error);
  CHECK_THROWS_AS(linear_ticks(0, INFINITY, 5), Error);
}

TEST_CASE("a chart is well-formed, complete, and no larger than its pixels") {
  Series loss{"train <loss> & \"more\"", {}, {}};
  for (int i = 0; i < 100'000; ++i) {
    loss.x.push_back(i);
    loss.y.push_back(i == 50'000 ? 1e4 : std::exp(-i / 2e4) * (1.5 + std::sin(0.1 * i)));
  }
  Plot plot{.title = "a < b", .x = {"step"}, .y = {"loss", true}, .series = {loss}};
  const std::string svg = to_svg(std::span(&plot, 1));
  CHECK(well_formed(svg));
  CHECK(svg.size() < 120'000);
  CHECK(svg.find("train &lt;loss&gt; &amp; &quot;more&quot;") != svg.npos);
  // The lone spike survives the thinning: the line reaches the highest mark.
  CHECK(svg.find(">10000<") != svg.npos);
  const std::size_t grid = svg.rfind("<path", svg.rfind("class=\"grid\""));
  const std::size_t from = svg.find(' ', grid + 6) + 1;
  const std::string top = svg.substr(from, svg.find('H', from) - from);
  CHECK(count(svg.substr(svg.find("<path d=\"M ")), " " + top + " ") == 1);
  CHECK_FALSE(well_formed(svg.substr(0, svg.size() - 3)));
}

TEST_CASE("what cannot be drawn breaks the line, and ends no run") {
  Plot plot{.x = {"x"}, .y = {"y", true}, .series = {{"a", {0, 1, 2, 3, 4}, {1, 2, 0, 3, 4}}}};
  const auto lines = [](const Plot& p) {
    return count(to_svg(std::span(&p, 1)), "stroke-linecap") > 0
               ? count(to_svg(std::span(&p, 1)), "class=\"line\"")
               : 0;
  };
  CHECK(lines(plot) == 3);  // two parts and the legend
  plot.series[0].y = {1, NAN, NAN, INFINITY, -2};
  CHECK(lines(plot) == 2);  // the lone point
  plot.series[0].y = {NAN, NAN, NAN, NAN, NAN};
  CHECK(lines(plot) == 1);
  CHECK(well_formed(to_svg(std::span(&plot, 1))));
  plot.series.clear();
  CHECK(well_formed(to_svg(std::span(&plot, 1))));
  plot.series = {{"a", {1, 2}, {1}}};
  CHECK_THROWS_WITH_AS(to_svg(std::span(&plot, 1)), doctest::Contains("got 2 and 1"), Error);
  CHECK_THROWS_AS(to_svg({}), Error);
}

TEST_CASE("plots below one another share their left edge") {
  const Series s{"", {0, 1}, {0, 1}}, wide{"", {0, 1}, {0, 123456}};
  const Plot plots[] = {{.series = {s}, .height = 200}, {.series = {wide}, .height = 200}};
  const std::string svg = to_svg(plots);
  CHECK(svg.find("height=\"400\"") != svg.npos);
  std::set<std::string> starts;  // of the lines, all at x = 0
  for (std::size_t at = 0; (at = svg.find("<path d=\"M ", at)) != svg.npos; ++at)
    starts.insert(svg.substr(at + 11, svg.find(' ', at + 11) - at - 11));
  CHECK(starts.size() == 1);
}
