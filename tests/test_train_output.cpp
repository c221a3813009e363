// What the training programs draw: PNG files, colours, rasters and panels.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>

#include "flr/core/philox.hpp"
#include "flr/data/deflate.hpp"
#include "flr/train/font.hpp"
#include "flr/train/picture.hpp"
#include "flr/train/png.hpp"
#include "flr/train/reach.hpp"

using namespace flr;
using namespace flr::train;

namespace {

std::uint32_t big_endian(const std::string& s, std::size_t at) {
  std::uint32_t v = 0;
  for (std::size_t i = 0; i < 4; ++i) v = v << 8 | static_cast<unsigned char>(s.at(at + i));
  return v;
}

// Reads back what encode_png may produce: three chunks, rows with filter 0 or 2.
Image decode(const std::string& png) {
  REQUIRE(png.substr(0, 8) == "\x89PNG\r\n\x1a\n");
  std::string header, packed;
  std::vector<std::string> types;
  for (std::size_t at = 8; at < png.size();) {
    const std::size_t length = big_endian(png, at);
    const std::string type = png.substr(at + 4, 4), bytes = png.substr(at + 8, length);
    const std::string checked = type + bytes;
    CHECK(big_endian(png, at + 8 + length) ==
          data::crc32_of(0, std::as_bytes(std::span(checked.data(), checked.size()))));
    types.push_back(type);
    if (type == "IHDR") header = bytes;
    if (type == "IDAT") packed = bytes;
    at += 12 + length;
  }
  CHECK(types == std::vector<std::string>{"IHDR", "IDAT", "IEND"});
  REQUIRE(header.size() == 13);
  CHECK(header.substr(8) == std::string("\x08\x02\x00\x00\x00", 5));
  const int width = static_cast<int>(big_endian(header, 0));
  const int height = static_cast<int>(big_endian(header, 4));
  std::string rows(static_cast<std::size_t>(height * (3 * width + 1)), '\0');
  const data::Source source(std::as_bytes(std::span(packed.data(), packed.size())));
  data::SourceStream stream(source);
  data::InflateStream inflated(stream, data::DeflateForm::zlib, rows.size());
  inflated.read(std::as_writable_bytes(std::span(rows.data(), rows.size())));
  inflated.finish();
  Image image(width, height);
  for (int y = 0; y < height; ++y) {
    const std::size_t row = static_cast<std::size_t>(y * (3 * width + 1));
    const char filter = rows[row];
    REQUIRE((filter == 0 || filter == 2));
    for (int x = 0; x < width; ++x) {
      const Rgb above = filter == 2 && y > 0 ? image.at(x, y - 1) : Rgb{};
      const std::size_t at = row + 1 + 3 * static_cast<std::size_t>(x);
      image.set(x, y,
                {static_cast<std::uint8_t>(rows[at] + above.r),
                 static_cast<std::uint8_t>(rows[at + 1] + above.g),
                 static_cast<std::uint8_t>(rows[at + 2] + above.b)});
    }
  }
  return image;
}

struct Lab {
  double L, a, b;
};

// sRGB to Oklab: the inverse of what the colour maps do, with the published forward matrices.
Lab oklab(Rgb c) {
  const auto linear = [](int v) {
    const double x = v / 255.0;
    return x <= 0.04045 ? x / 12.92 : std::pow((x + 0.055) / 1.055, 2.4);
  };
  const double r = linear(c.r), g = linear(c.g), b = linear(c.b);
  const double l = std::cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
  const double m = std::cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
  const double s = std::cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
  return {0.2104542553 * l + 0.7936177850 * m - 0.0040720468 * s,
          1.9779984951 * l - 2.4285922050 * m + 0.4505937099 * s,
          0.0259040371 * l + 0.7827717662 * m - 0.8086757660 * s};
}

double distance(Lab p, Lab q) {
  return std::hypot(p.L - q.L, p.a - q.a, p.b - q.b);
}

}  // namespace

TEST_CASE("a PNG holds the picture's pixels") {
  Image image(5, 3, {10, 20, 30});
  image.set(0, 0, {255, 0, 1});
  image.set(4, 2, {7, 250, 128});
  image.fill(1, 1, 100, 1, {200, 100, 50});  // what lies outside is ignored
  const Image back = decode(encode_png(image));
  CHECK(back.width() == 5);
  CHECK(back.height() == 3);
  CHECK(back.pixels() == image.pixels());
  CHECK_THROWS_AS(Image(0, 3), Error);
  CHECK_THROWS_AS(image.at(5, 0), Error);
}

TEST_CASE("a PNG that cannot be written is one sentence") {
  CHECK_THROWS_WITH_AS(write_png("/dev/null/picture.png", Image(2, 2)),
                       doctest::Contains("/dev/null/picture.png"), Error);
}

TEST_CASE("colour maps step evenly") {
  for (const Colormap map : {Colormap::sequential, Colormap::diverging}) {
    double shortest = 1, longest = 0;
    for (int i = 0; i < 16; ++i) {
      const double step =
          distance(oklab(colour(map, i / 16.0)), oklab(colour(map, (i + 1) / 16.0)));
      shortest = std::min(shortest, step);
      longest = std::max(longest, step);
    }
    CHECK(longest < 1.15 * shortest);  // matplotlib's jet: more than 5
  }
  for (int i = 0; i < 64; ++i) {
    CHECK(oklab(colour(Colormap::sequential, i / 64.0)).L <
          oklab(colour(Colormap::sequential, (i + 1) / 64.0)).L);
    const double t = i / 128.0;
    const Lab low = oklab(colour(Colormap::diverging, t));
    const Lab high = oklab(colour(Colormap::diverging, 1 - t));
    CHECK(low.L == doctest::Approx(high.L).epsilon(0.01));
  }
  CHECK(oklab(colour(Colormap::diverging, 0)).b < -0.1);  // blue
  CHECK(oklab(colour(Colormap::diverging, 1)).a > 0.1);   // red
  CHECK(oklab(colour(Colormap::diverging, 0.5)).L > 0.95);
  CHECK(colour(Colormap::sequential, -3) == colour(Colormap::sequential, 0));
  const Rgb grey = colour(Colormap::sequential, NAN);
  CHECK(grey.r == grey.g);
  CHECK(grey.g == grey.b);
}

TEST_CASE("letters are distinct and as wide as said") {
  std::set<std::vector<std::uint8_t>> shapes;
  for (char c = 32; c < 127; ++c) {
    Image image(glyph_advance, glyph_height + glyph_descent);
    draw_text(image, 0, 0, std::string_view(&c, 1), {0, 0, 0});
    std::vector<std::uint8_t> shape;
    for (const Rgb p : image.pixels()) shape.push_back(p.r);
    shapes.insert(shape);
    for (int y = 0; y < image.height(); ++y) CHECK(image.at(glyph_width, y).r == 255);
  }
  CHECK(shapes.size() == 95);
  CHECK(text_width("ab", 2) == 22);
  CHECK(text_width("") == 0);
}

TEST_CASE("an even grid shows its cells, or lines between their middles") {
  const std::vector<float> values{0, 1, 2, 3, 4, 5};
  const Raster cells(FieldLayout::grid(2, 3), 30);
  CHECK(cells.width() == 30);
  CHECK(cells.height() >= 20);
  CHECK(cells.sample(values, 0, 0).value == 0);
  CHECK(cells.sample(values, 29, 0).value == 2);
  CHECK(cells.sample(values, 0, cells.height() - 1).value == 3);
  CHECK(cells.sample(values, 15, cells.height() - 1).value == 4);
  const Raster smooth(FieldLayout::grid(2, 3), 30, true);
  CHECK(smooth.sample(values, 0, 0).value == 0);
  // A pixel's middle at (9 + ½)/10 cells: 0.45 of the way from column 0 to column 1.
  CHECK(smooth.sample(values, 9, 0).value == doctest::Approx(0.45));
  CHECK_THROWS_AS(cells.sample(std::vector<float>(5), 0, 0), Error);
  CHECK_THROWS_AS(Raster(FieldLayout::grid(2, 3), 4), Error);
  CHECK_THROWS_AS(FieldLayout::grid(0, 3), Error);
}

TEST_CASE("a mesh reproduces a linear field, and a hole stays open") {
  std::vector<float> coordinates, values;
  for (int i = 0; i < 65; ++i)
    for (int j = 0; j < 9; ++j) {
      const double angle = 2 * M_PI * i / 64, r = 1 + j / 8.0;
      coordinates.push_back(static_cast<float>(r * std::cos(angle)));
      coordinates.push_back(static_cast<float>(r * std::sin(angle)));
      values.push_back(coordinates[coordinates.size() - 2] + 3 * coordinates.back());
    }
  const Raster raster(FieldLayout::mesh(65, 9, coordinates), 101);
  CHECK_FALSE(raster.sample(values, 50, 50).painted);
  CHECK_FALSE(raster.sample(values, 0, 0).painted);
  for (const auto& [x, y] : {std::pair{10, 50}, {50, 8}, {80, 70}, {50, 92}}) {
    const auto [value, painted] = raster.sample(values, x, y);
    CHECK(painted);
    CHECK(value == doctest::Approx((x - 50) / 25.0 + 3 * (50 - y) / 25.0).epsilon(1e-4));
  }
  const Window window{0, 2, 0, 2};
  const Raster part(FieldLayout::mesh(65, 9, coordinates), 101, false, &window);
  CHECK(part.sample(values, 60, 60).value == doctest::Approx(1.2 + 3 * 0.8).epsilon(1e-4));
  CHECK_THROWS_AS(FieldLayout::mesh(65, 8, coordinates), Error);
}

TEST_CASE("points colour what is nearest to them and leave gaps open") {
  std::vector<float> coordinates, values;
  for (int i = 0; i <= 40; ++i)
    for (int j = 0; j <= 40; ++j) {
      const float x = static_cast<float>(i) / 40, y = static_cast<float>(j) / 40;
      if (std::hypot(x - 0.5f, y - 0.5f) < 0.2f) continue;
      coordinates.insert(coordinates.end(), {x, y});
      values.push_back(static_cast<float>(values.size()));
    }
  const Raster raster(FieldLayout::points(coordinates, 2), 161);
  int mistakes = 0, unpainted = 0;
  for (int y = 0; y < 161; ++y)
    for (int x = 0; x < 161; ++x) {
      const auto [value, painted] = raster.sample(values, x, y);
      const double px = x / 160.0, py = 1 - y / 160.0;
      const double from_centre = std::hypot(px - 0.5, py - 0.5);
      if (!painted) {
        ++unpainted;
        mistakes += from_centre > 0.23;
        continue;
      }
      mistakes += from_centre < 0.15;
      double nearest = 1;
      for (std::size_t i = 0; i < coordinates.size(); i += 2)
        nearest = std::min(nearest, std::hypot(px - coordinates[i], py - coordinates[i + 1]));
      const auto i = 2 * static_cast<std::size_t>(value);
      mistakes += std::hypot(px - coordinates[i], py - coordinates[i + 1]) > nearest + 1e-6;
    }
  CHECK(mistakes == 0);
  CHECK(unpainted > 1000);
}

TEST_CASE("a point reaches as far as its sixth neighbour says") {
  // Clouds that are even, flat, on a line, clustered with strays, all in one place, and tiny.
  const auto cloud = [](int kind, std::size_t n) {
    std::array<std::vector<double>, 3> p;
    for (std::size_t i = 0; i < n; ++i) {
      const auto words = stream_block(5, static_cast<std::uint64_t>(kind), 0, i);
      const double stretch = kind == 3 && i % 20 != 0 ? 3 : 300;
      for (std::size_t a = 0; a < 3; ++a) {
        const bool moves = kind == 4 ? false : kind == 2 ? a == 0 : kind == 1 ? a < 2 : true;
        p[a].push_back(moves ? stretch * double(uniform_float(words[a])) : 7.0);
      }
    }
    return p;
  };
  for (int kind = 0; kind < 5; ++kind)
    for (const std::size_t n : {1, 2, 5, 7, 60, 900}) {
      const auto p = cloud(kind, n);
      const std::vector<double> got = reach_of_points(p[0], p[1], p[2]);
      REQUIRE(got.size() == n);
      std::size_t wrong = 0;
      for (std::size_t i = 0; i < n; ++i) {
        std::vector<double> distances;
        for (std::size_t j = 0; j < n; ++j)
          if (j != i)
            distances.push_back(
                std::hypot(p[0][i] - p[0][j], p[1][i] - p[1][j], p[2][i] - p[2][j]));
        std::sort(distances.begin(), distances.end());
        const double sixth = distances.empty() ? 0 : distances[std::min<std::size_t>(5, n - 2)];
        wrong += std::abs(got[i] - std::max(0.9 * sixth, 1.5)) > 1e-9;
      }
      CAPTURE(kind);
      CAPTURE(n);
      CHECK(wrong == 0);
    }
}

TEST_CASE("3-D points are seen along their least extent, the front ones in front") {
  // Square plates, upright in x and z; y is the least extent and the eye is at negative y. The one
  // in front is neither the first nor the last.
  std::vector<float> coordinates, values;
  for (int plate = 0; plate < 3; ++plate)
    for (int i = 0; i <= 30; ++i)
      for (int k = 0; k <= 30; ++k) {
        const float x = static_cast<float>(i) / 30 + (plate == 2 ? 0.016f : 0.0f);
        coordinates.insert(coordinates.end(),
                           {x, plate == 1 ? 0.0f : 0.5f, static_cast<float>(k) / 30});
        values.push_back(plate == 1 ? static_cast<float>(k) : -1.0f);
      }
  const Raster raster(FieldLayout::points(coordinates, 3), 61);
  CHECK(raster.sample(values, 30, 0).value == 30);  // z points upwards
  CHECK(raster.sample(values, 30, raster.height() - 1).value == 0);
  for (int x = 0; x < 61; ++x) CHECK(raster.sample(values, x, 33).value >= 0);
  // One point, and points in one place, are pictures too.
  CHECK(Raster(FieldLayout::points(std::vector<float>{1, 2}, 2), 61)
            .sample(std::vector<float>{5}, 7, 7)
            .value == 5);
  CHECK_THROWS_AS(FieldLayout::points(std::vector<float>{1, 2, 3}, 2), Error);
  CHECK_THROWS_AS(FieldLayout::points(std::vector<float>{1, NAN}, 2), Error);
  CHECK_THROWS_AS(FieldLayout::points(std::vector<float>(8), 4), Error);
}

TEST_CASE("panels stand side by side on their own scales") {
  const std::vector<float> low{0, 1, 2, 3}, high{0, 100, 200, 300};
  const Panel panels[] = {{"low", low}, {"high", high}};
  const Image image = draw_panels(FieldLayout::grid(2, 2), panels, {.side = 96});
  const auto column_of = [&](Rgb wanted) {
    std::vector<int> columns;
    for (int x = 0; x < image.width(); ++x)
      for (int y = 20; y < 100; ++y)
        if (image.at(x, y) == wanted) {
          columns.push_back(x);
          break;
        }
    return columns;
  };
  // Both panels show the same colours, 48 columns of each.
  CHECK(column_of(colour(Colormap::sequential, 0)).size() == 96);
  CHECK(column_of(colour(Colormap::sequential, 1)).size() == 96);
  CHECK_THROWS_AS(draw_panels(FieldLayout::grid(2, 2), {}), Error);
  CHECK_THROWS_AS(draw_panels(FieldLayout::grid(2, 3), panels), Error);

  const std::vector<float> prediction{0, 1, 2, 5};
  const Image solved =
      draw_prediction(FieldLayout::grid(2, 2), high, low, prediction, {.side = 96});
  CHECK(solved.width() == 2 * image.width() - 12);
  const Image without = draw_prediction(FieldLayout::grid(2, 2), {}, low, prediction, {.side = 96});
  CHECK(without.width() < solved.width());
  CHECK_THROWS_AS(draw_prediction(FieldLayout::grid(2, 2), {}, low, std::vector<float>(3)), Error);
  const auto [a, b] = value_range(std::vector<float>{NAN, 2, -1, INFINITY});
  CHECK(a == -1);
  CHECK(b == 2);
}
