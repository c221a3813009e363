#include "flr/train/svg_plot.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <string_view>

#include "flr/core/error.hpp"
#include "flr/data/file.hpp"
#include "flr/train/ticks.hpp"

namespace flr::train {

namespace {

// Colours that colour-blind readers can tell apart (Okabe and Ito, "Color Universal Design", 2008).
constexpr std::string_view line_colours[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                             "#e69f00", "#56b4e9", "#000000"};

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '"')
      out += "&quot;";
    else if (static_cast<unsigned char>(c) >= 32)
      out += c;  // XML knows no control characters
  }
  return out;
}

// SVG cannot measure text for us; sans-serif letters average a little over half their size.
double estimated_width(std::string_view text, double size) {
  const auto letters = std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;  // not a UTF-8 continuation
  });
  return 0.56 * size * static_cast<double>(letters);
}

bool drawable(double v, const Axis& axis) {
  return std::isfinite(v) && (!axis.logarithmic || v > 0);
}

struct Scale {
  Ticks ticks;
  bool logarithmic;
  double from, to;  // pixels

  double operator()(double v) const {
    const double t = logarithmic ? std::log(v / ticks.low) / std::log(ticks.high / ticks.low)
                                 : (v - ticks.low) / (ticks.high - ticks.low);
    return from + t * (to - from);
  }
};

Ticks choose_ticks(const Plot& plot, bool horizontal) {
  const Axis& axis = horizontal ? plot.x : plot.y;
  double low = INFINITY, high = -INFINITY;
  for (const Series& s : plot.series)
    for (std::size_t i = 0; i < s.x.size(); ++i) {
      if (!drawable(s.x[i], plot.x) || !drawable(s.y[i], plot.y)) continue;
      low = std::min(low, horizontal ? s.x[i] : s.y[i]);
      high = std::max(high, horizontal ? s.x[i] : s.y[i]);
    }
  if (!(low <= high)) low = axis.logarithmic ? 1 : 0, high = axis.logarithmic ? 10 : 1;
  if (axis.low) low = *axis.low;
  if (axis.high) high = *axis.high;
  check(
      low <= high && (!axis.logarithmic || low > 0),
      "[plot] {}: expected axis ends in rising order, positive on a logarithmic axis; got {} to {}",
      plot.title, low, high);
  const int wanted = std::max(2, horizontal ? plot.width / 100 : plot.height / 60);
  // Time and step axes end where the data ends; an empty stretch there would say "unfinished".
  const bool widen = !horizontal && !axis.low && !axis.high;
  return axis.logarithmic ? log_ticks(low, high, wanted, widen)
                          : linear_ticks(low, high, wanted, widen);
}

struct Point {
  double x, y;
};

// More points than pixels make a large file and the same picture: each run of points that falls
// into one half-pixel column keeps its first, lowest, highest and last.
std::vector<Point> thinned(const std::vector<Point>& points) {
  std::vector<Point> out;
  for (std::size_t i = 0; i < points.size();) {
    std::size_t end = i + 1, low = i, high = i;
    const double column = std::floor(2 * points[i].x);
    for (; end < points.size() && std::floor(2 * points[end].x) == column; ++end) {
      if (points[end].y < points[low].y) low = end;
      if (points[end].y > points[high].y) high = end;
    }
    std::size_t keep[] = {i, std::min(low, high), std::max(low, high), end - 1};
    for (auto* k = keep; k != std::unique(std::begin(keep), std::end(keep)); ++k)
      out.push_back(points[*k]);
    i = end;
  }
  return out;
}

class Drawing {
 public:
  Drawing(const Plot& plot, double left, double top) : plot_(plot), left_(left) {
    Ticks horizontal = choose_ticks(plot, true), vertical = choose_ticks(plot, false);
    right_ = plot.width - 24.0;
    top_ = top + 14 + (plot.title.empty() ? 0 : 24) + legend_height();
    bottom_ = top + plot.height - (plot.x.label.empty() ? 30.0 : 50.0);
    x_ = {std::move(horizontal), plot.x.logarithmic, left_, right_};
    y_ = {std::move(vertical), plot.y.logarithmic, bottom_, top_};
    title(top);
    axes();
    for (std::size_t i = 0; i < plot.series.size(); ++i) line(plot.series[i], colour_of(i));
  }
  const std::string& text() const { return out_; }

  // Room for the labels of the vertical axis.
  static double left_margin(const Plot& plot) {
    double widest = 0;
    for (const auto& label : choose_ticks(plot, false).labels)
      widest = std::max(widest, estimated_width(label, small));
    return 14 + widest + 8 + (plot.y.label.empty() ? 0 : 20);
  }

 private:
  static constexpr double small = 12, legend_row = 20;

  template <class... Args>
  void put(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(out_), format, std::forward<Args>(args)...);
  }
  static std::string_view colour_of(std::size_t i) { return line_colours[i % 7]; }

  // Legend entries from left to right, in as many rows as they need.
  template <class Visit>
  int legend_rows(Visit visit) const {
    double at = 0;
    int row = 0;
    for (std::size_t i = 0; i < plot_.series.size(); ++i) {
      const std::string& name = plot_.series[i].name;
      if (name.empty()) continue;
      const double width = 26 + estimated_width(name, small) + 18;
      if (at > 0 && at + width > right_ - left_) at = 0, ++row;
      visit(i, at, row);
      at += width;
    }
    return at > 0 ? row + 1 : 0;
  }
  double legend_height() const {
    const int rows = legend_rows([](std::size_t, double, int) {});
    return rows > 0 ? rows * legend_row + 6 : 0;
  }

  void title(double top) {
    double y = top + 14;
    if (!plot_.title.empty()) {
      put("<text x=\"{:.1f}\" y=\"{:.1f}\" class=\"title\">{}</text>\n", left_, y + 12,
          escaped(plot_.title));
      y += 24;
    }
    legend_rows([&](std::size_t i, double at, int row) {
      const double lx = left_ + at, ly = y + 10 + row * legend_row;
      put("<path d=\"M{:.1f} {:.1f}h20\" stroke=\"{}\" class=\"line\"/>\n", lx, ly, colour_of(i));
      put("<text x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n", lx + 26, ly + 4,
          escaped(plot_.series[i].name));
    });
  }

  void axes() {
    for (std::size_t i = 0; i < y_.ticks.at.size(); ++i) {
      const double y = y_(y_.ticks.at[i]);
      put("<path d=\"M{:.1f} {:.1f}H{:.1f}\" class=\"grid\"/>\n", left_, y, right_);
      put("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>\n", left_ - 8, y + 4,
          y_.ticks.labels[i]);
    }
    for (std::size_t i = 0; i < x_.ticks.at.size(); ++i) {
      const double x = x_(x_.ticks.at[i]);
      put("<path d=\"M{:.1f} {:.1f}v5\" class=\"axis\"/>\n", x, bottom_);
      put("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>\n", x, bottom_ + 19,
          x_.ticks.labels[i]);
    }
    put("<path d=\"M{:.1f} {:.1f}H{:.1f}\" class=\"axis\"/>\n", left_, bottom_, right_);
    if (!plot_.x.label.empty())
      put("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\" class=\"label\">{}</text>\n",
          (left_ + right_) / 2, bottom_ + 40, escaped(plot_.x.label));
    if (!plot_.y.label.empty())
      put("<text transform=\"translate(18 {:.1f}) rotate(-90)\" text-anchor=\"middle\" "
          "class=\"label\">{}</text>\n",
          (top_ + bottom_) / 2, escaped(plot_.y.label));
  }

  void line(const Series& s, std::string_view stroke) {
    std::vector<Point> run;
    const auto finish = [&] {
      if (run.empty()) return;
      const auto points = thinned(run);
      put("<path d=\"M");
      for (const Point& p : points) put(" {:.1f} {:.1f}", p.x, p.y);
      // A lone point between gaps would be invisible as a line.
      if (points.size() == 1) put("h0.01");
      put("\" stroke=\"{}\" class=\"line\"/>\n", stroke);
      if (s.markers)
        for (const Point& p : points)
          put("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3.5\" fill=\"{}\"/>\n", p.x, p.y, stroke);
      run.clear();
    };
    for (std::size_t i = 0; i < s.x.size(); ++i) {
      const bool shown = drawable(s.x[i], plot_.x) && drawable(s.y[i], plot_.y) &&
                         s.x[i] >= x_.ticks.low && s.x[i] <= x_.ticks.high;
      if (!shown) {
        finish();
        continue;
      }
      run.push_back({x_(s.x[i]), std::clamp(y_(s.y[i]), top_, bottom_)});
    }
    finish();
  }

  const Plot& plot_;
  double left_, right_ = 0, top_ = 0, bottom_ = 0;
  Scale x_, y_;
  std::string out_;
};

}  // namespace

std::string to_svg(std::span<const Plot> plots) {
  check(!plots.empty(), "[plot] expected at least one plot");
  int width = 0, height = 0;
  double left = 0;  // shared, so that the plots' horizontal axes stand below one another
  for (const Plot& plot : plots) {
    check(plot.width >= 240 && plot.height >= 160,
          "[plot] expected at least 240 x 160 pixels; got {} x {}", plot.width, plot.height);
    for (const Series& series : plot.series)
      check(series.x.size() == series.y.size(), "[plot] {}: expected as many x as y; got {} and {}",
            series.name, series.x.size(), series.y.size());
    left = std::max(left, Drawing::left_margin(plot));
  }
  std::string body;
  for (const Plot& plot : plots) {
    body += Drawing(plot, left, height).text();
    width = std::max(width, plot.width);
    height += plot.height;
  }
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" "
      "viewBox=\"0 0 {0} {1}\">\n"
      "<style>text{{font:12px Helvetica,Arial,'Liberation Sans',sans-serif;fill:#333}}"
      ".title{{font-size:15px;font-weight:bold;fill:#111}}.label{{font-size:13px}}"
      ".line{{fill:none;stroke-width:1.75;stroke-linejoin:round;stroke-linecap:round}}"
      ".grid{{stroke:#e4e4e4;fill:none}}.axis{{stroke:#555;fill:none}}</style>\n"
      "<rect width=\"{0}\" height=\"{1}\" fill=\"#fff\"/>\n{2}</svg>\n",
      width, height, body);
}

void write_svg(const std::filesystem::path& path, std::span<const Plot> plots) {
  data::atomic_write(path, to_svg(plots));
}

void write_svg(const std::filesystem::path& path, const Plot& plot) {
  write_svg(path, std::span(&plot, 1));
}

}  // namespace flr::train
