// Which classes are taken for which.
#include <algorithm>

#include "flr/data/file.hpp"
#include "flr/train/font.hpp"
#include "flr/train/png.hpp"
#include "scores.hpp"

namespace lra {

using namespace flr;

namespace {

// From white (no sample of the row) to dark blue (all of them).
train::Rgb shade(double share) {
  const auto mix = [&](double light, double dark) {
    return static_cast<std::uint8_t>(light + (dark - light) * share + 0.5);
  };
  return {mix(247, 8), mix(251, 48), mix(255, 107)};
}

}  // namespace

void write_confusion(const std::filesystem::path& folder, const train::SequenceScore& score) {
  const index_t n = score.classes;
  const auto at = [&](index_t truth, index_t answer) {
    return score.confusion[static_cast<std::size_t>(truth * n + answer)];
  };
  std::string text = "true";
  for (index_t j = 0; j < n; ++j) text += fmt::format(",{}", j);
  for (index_t i = 0; i < n; ++i) {
    text += fmt::format("\n{}", i);
    for (index_t j = 0; j < n; ++j) text += fmt::format(",{}", at(i, j));
  }
  data::atomic_write(folder / "confusion.csv", text + "\n");

  const int cell = n <= 12 ? 44 : n <= 25 ? 22 : std::max(4, static_cast<int>(560 / n));
  const int margin = 46, side = cell * static_cast<int>(n), top = 30;
  train::Image image(margin + side + 12, top + side + 30);
  const train::Rgb black{0, 0, 0}, white{255, 255, 255};
  const auto label = [&](const std::string& words, int x, int y, train::Rgb colour) {
    train::draw_text(image, x - train::text_width(words) / 2, y, words, colour);
  };
  label("answer (columns) to true class (rows), share of the row in %", (margin + side + 12) / 2, 4,
        black);
  for (index_t i = 0; i < n; ++i) {
    index_t row = 0;
    for (index_t j = 0; j < n; ++j) row += at(i, j);
    const int y = top + static_cast<int>(i) * cell;
    if (cell >= 12) label(fmt::format("{}", i), margin / 2, y + cell / 2 - 4, black);
    for (index_t j = 0; j < n; ++j) {
      const double share = row > 0 ? static_cast<double>(at(i, j)) / static_cast<double>(row) : 0.0;
      const int x = margin + static_cast<int>(j) * cell;
      image.fill(x, y, cell - 1, cell - 1, shade(share));
      if (cell >= 22)
        label(fmt::format("{:.0f}", 100 * share), x + cell / 2, y + cell / 2 - 4,
              share > 0.5 ? white : black);
      if (i == 0 && cell >= 12) label(fmt::format("{}", j), x + cell / 2, top + side + 8, black);
    }
  }
  train::write_png(folder / "confusion.png", image);
}

}  // namespace lra
