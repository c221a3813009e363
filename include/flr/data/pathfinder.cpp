#include "flr/data/pathfinder.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <numbers>
#include <optional>

#include "flr/core/parallel.hpp"
#include "flr/data/pathfinder_paddle.hpp"
#include "flr/data/sample_stream.hpp"

namespace flr::data {

namespace {

constexpr double pi = std::numbers::pi;

/// A paddle in its place.
struct Placed {
  const Paddle* paddle;
  PixelPosition start;
};

struct Curve {
  std::vector<Placed> paddles;  ///< the last one does not occupy its place yet
  PixelPosition pivot;          ///< where the last paddle's far margin begins
  PixelPosition tail, tip;
  double angle = 0;
};

template <class Use>
void over(const Placed& placed, index_t side, Use&& use) {
  const index_t half = placed.paddle->half;
  for (index_t y = std::max<index_t>(0, placed.start.y - half);
       y <= std::min(side - 1, placed.start.y + half); ++y)
    for (index_t x = std::max<index_t>(0, placed.start.x - half);
         x <= std::min(side - 1, placed.start.x + half); ++x)
      use(y, x, y - placed.start.y + half, x - placed.start.x + half);
}

/// One image in the making. `occupied` is 0 … 1 for each pixel.
class Scene {
 public:
  Scene(const PathfinderRecipe& recipe, index_t margin, Paddles& paddles, SampleStream& random)
      : r_(recipe), margin_(margin), paddles_(paddles), random_(random) {
    clear();
  }

  void clear() {
    occupied_ = Raster(r_.side, r_.side);
    for (index_t y = 0; y < r_.side; ++y)
      for (index_t x = 0; x < r_.side; ++x)
        if (edge_distance(y, x) < r_.padding) occupied_.at(y, x) = 1;
  }

  /// Two long curves, or nothing where one of them found no way.
  std::optional<std::array<Curve, 2>> long_curves() {
    auto first = seed(2 * r_.seed_distance);
    if (!first) return {};
    auto second = seed_beside(first->tail);
    if (!second) return {};
    std::array<Curve, 2> curves{std::move(*first), std::move(*second)};
    for (index_t i = 1; i < r_.paddles; ++i)
      for (Curve& curve : curves)
        if (!extend(curve)) return {};
    // As the original: the first curve's last paddle stays free to be overlaid.
    occupy(curves[1].paddles.back());
    return curves;
  }

  /// A short curve, or nothing; what it occupied is given back then.
  std::optional<Curve> distractor() {
    const Raster before = occupied_;
    std::optional<Curve> curve = seed(1);
    for (index_t i = 1; curve && i < r_.distractor_paddles; ++i)
      if (!extend(*curve)) curve.reset();
    if (curve)
      occupy(curve->paddles.back());
    else
      occupied_ = before;
    return curve;
  }

  /// Whether at least a hundredth of the image is free.
  bool has_room() const {
    const auto free = std::count_if(occupied_.values.begin(), occupied_.values.end(), is_free);
    return static_cast<double>(free) >= 0.01 * static_cast<double>(r_.side * r_.side);
  }

 private:
  static bool is_free(double occupied) { return occupied <= 0.3; }

  index_t edge_distance(index_t y, index_t x) const {
    return std::min({y, x, r_.side - 1 - y, r_.side - 1 - x});
  }

  void occupy(const Placed& placed) {
    over(placed, r_.side, [&](index_t y, index_t x, index_t i, index_t j) {
      occupied_.at(y, x) = std::max(occupied_.at(y, x), placed.paddle->mask.at(i, j));
    });
  }

  double random_angle() { return static_cast<double>(random_.between(-180, 179)) * pi / 180; }

  /// A curve of one paddle whose tail is given; nothing where it would leave the image.
  std::optional<Curve> begin(PixelPosition tail, double angle) {
    const auto length = static_cast<double>(r_.paddle_length);
    const double back = angle < 0 ? angle + pi : angle - pi;
    const PixelPosition head = moved(tail, angle, length);
    const PixelPosition pivot = moved(head, back, length + static_cast<double>(margin_));
    if (!occupied_.inside(head.y, head.x) || !occupied_.inside(pivot.y, pivot.x)) return {};
    return Curve{{{&paddles_(angle), tail}}, pivot, tail, tail, angle};
  }

  /// A paddle where there is room for it, at least `distance` pixels from the edges.
  std::optional<Curve> seed(double distance) {
    for (int trial = 0; trial <= r_.paddle_retries; ++trial) {
      const double angle = random_angle();
      const auto free = free_tails(paddles_(angle), distance);
      if (free.empty()) return {};
      const auto pick = random_.below(static_cast<std::int64_t>(free.size()));
      if (auto curve = begin(free[static_cast<std::size_t>(pick)], angle)) return curve;
    }
    return {};
  }

  std::optional<Curve> seed_beside(PixelPosition other) {
    for (int trial = 0; trial <= r_.paddle_retries; ++trial) {
      const double angle = random_angle(), around = random_angle();
      const PixelPosition tail{other.y + std::lround(r_.seed_distance * std::sin(around)),
                               other.x + std::lround(r_.seed_distance * std::cos(around))};
      if (auto curve = begin(tail, angle)) return curve;
    }
    return {};
  }

  /// Pixels where a curve may begin with this paddle. What the paddle needs beyond the image counts
  /// as free.
  std::vector<PixelPosition> free_tails(const Paddle& paddle, double distance) const {
    if (!paddle.begins_curves) return {};
    const index_t n = r_.side;
    std::vector<std::uint8_t> taken(static_cast<std::size_t>(n * n));
    for (index_t y = 0; y < n; ++y)
      for (index_t x = 0; x < n; ++x)
        taken[static_cast<std::size_t>(y * n + x)] =
            !is_free(occupied_.at(y, x)) || static_cast<double>(edge_distance(y, x)) < distance;
    // Something it needs lies in the middle, where alone pixels can be free; long curves are begun
    // over and over.
    PixelPosition least, most;
    for (const PixelPosition& p : paddle.needed) {
      least = {std::min(least.y, p.y), std::min(least.x, p.x)};
      most = {std::max(most.y, p.y), std::max(most.x, p.x)};
    }
    const auto edge = static_cast<index_t>(std::ceil(distance));
    const PixelPosition first{std::max<index_t>(0, edge - most.y),
                              std::max<index_t>(0, edge - most.x)},
        last{std::min(n, n - edge - least.y), std::min(n, n - edge - least.x)};
    std::vector<std::uint8_t> blocked(static_cast<std::size_t>(n * n));
    for (const PixelPosition& offset : paddle.needed) {
      const index_t left = std::max(first.x, -offset.x), right = std::min(last.x, n - offset.x);
      for (index_t y = std::max(first.y, -offset.y); y < std::min(last.y, n - offset.y); ++y) {
        const std::uint8_t* from = taken.data() + (y + offset.y) * n + offset.x;
        std::uint8_t* to = blocked.data() + y * n;
        for (index_t x = left; x < right; ++x) to[x] |= from[x];
      }
    }
    std::vector<PixelPosition> free;
    for (index_t y = first.y; y < last.y; ++y)
      for (index_t x = first.x; x < last.x; ++x)
        if (!blocked[static_cast<std::size_t>(y * n + x)]) free.push_back({y, x});
    return free;
  }

  /// The pixels where the next paddle may end: on the circle around its pivot.
  std::vector<PixelPosition> candidates(PixelPosition pivot) const {
    const auto radius = static_cast<double>(r_.paddle_length + margin_);
    const double step = 1 / radius;  // arcs of one pixel
    const auto side = static_cast<double>(r_.side);
    std::vector<PixelPosition> found;
    for (index_t i = 0; static_cast<double>(i) * step < 2 * pi; ++i) {
      const double angle = static_cast<double>(i) * step;
      const double y = static_cast<double>(pivot.y) + radius * std::sin(angle);
      const double x = static_cast<double>(pivot.x) + radius * std::cos(angle);
      if (y < 0 || y >= side || x < 0 || x >= side) continue;
      found.push_back({static_cast<index_t>(y), static_cast<index_t>(x)});
    }
    const auto key = [](PixelPosition p) { return std::pair{p.y, p.x}; };
    std::ranges::sort(found, {}, key);
    const auto rest = std::ranges::unique(found, {}, key);
    found.erase(rest.begin(), rest.end());
    return found;
  }

  /// The largest occupancy within the margin of a pixel.
  double crowded(PixelPosition p) const {
    double most = 0;
    for (index_t v = -margin_; v <= margin_; ++v)
      for (index_t u = -margin_; u <= margin_; ++u)
        if (v * v + u * u <= margin_ * margin_ && occupied_.inside(p.y + v, p.x + u))
          most = std::max(most, occupied_.at(p.y + v, p.x + u));
    return most;
  }

  double highest_overlap(const Placed& placed) const {
    double most = 0;
    over(placed, r_.side, [&](index_t y, index_t x, index_t i, index_t j) {
      most = std::max(most, occupied_.at(y, x) + placed.paddle->mask.at(i, j));
    });
    return most;
  }

  /// Adds a paddle; what the one before occupies is taken then.
  bool extend(Curve& curve) {
    const PixelPosition pivot =
        moved(curve.pivot, curve.angle, static_cast<double>(r_.paddle_length + 2 * margin_));
    const auto ends = candidates(pivot);
    std::vector<double> angles, sums;
    double sum = 0;
    for (const PixelPosition& end : ends) {
      const double angle =
          std::atan2(static_cast<double>(end.y - pivot.y), static_cast<double>(end.x - pivot.x));
      const double apart = std::abs(angle - curve.angle);
      const double turn = std::min(r_.continuity * std::min(apart, 2 * pi - apart), pi / 2);
      const double along = std::max(std::cos(turn), 0.0);
      angles.push_back(angle);
      sums.push_back(sum += (1 - crowded(end)) * along * along);
    }
    if (sum < 1e-4) return false;
    for (int trial = 0; trial <= r_.paddle_retries; ++trial) {
      const double draw = random_.uniform() * sum;
      const auto pick = static_cast<std::size_t>(
          std::min(std::upper_bound(sums.begin(), sums.end(), draw), sums.end() - 1) -
          sums.begin());
      const double angle = angles[pick];
      const Placed placed{&paddles_(angle < 0 ? angle + pi : angle - pi), ends[pick]};
      if (highest_overlap(placed) >= 1.8) continue;
      occupy(curve.paddles.back());
      curve.paddles.push_back(placed);
      curve.pivot = pivot, curve.angle = angle, curve.tip = ends[pick];
      return true;
    }
    return false;
  }

  const PathfinderRecipe& r_;
  index_t margin_;
  Paddles& paddles_;
  SampleStream& random_;
  Raster occupied_;
};

void paint(Raster& image, const Curve& curve, double contrast) {
  for (const Placed& placed : curve.paddles)
    over(placed, image.width, [&](index_t y, index_t x, index_t i, index_t j) {
      image.at(y, x) = std::max(image.at(y, x), contrast * placed.paddle->line.at(i, j));
    });
}

void paint_marker(Raster& image, PixelPosition at, const PathfinderRecipe& recipe) {
  const index_t a = recipe.supersampling;
  Raster large(image.height * a, image.width * a);
  draw_disc(large, static_cast<double>(at.y * a), static_cast<double>(at.x * a),
            recipe.marker_radius * static_cast<double>(a));
  const Raster disc = lanczos(large, image.height, image.width);
  for (std::size_t i = 0; i < disc.values.size(); ++i)
    image.values[i] = std::max(image.values[i], disc.values[i]);
}

void check_recipe(const PathfinderRecipe& r) {
  check(r.side >= 16 && r.side <= 4096, "[pathfinder] expected 16 to 4096 pixels a side; got {}",
        r.side);
  check(!r.margins.empty() && r.paddle_length >= 1 && r.supersampling >= 1 && r.thickness > 0 &&
            std::ranges::min(r.margins) >= 1 && std::ranges::max(r.margins) <= r.side,
        "[pathfinder] expected paddles with a length, a thickness and a margin");
  check(r.paddles >= 1 && r.distractor_paddles >= 1 && r.distractors >= 0,
        "[pathfinder] expected curves of at least one paddle; got {} and {}", r.paddles,
        r.distractor_paddles);
  check(4 * r.seed_distance < static_cast<double>(r.side),
        "[pathfinder] seeds {} pixels apart leave no room in {} x {} pixels", r.seed_distance,
        r.side, r.side);
}

}  // namespace

PathfinderRecipe pathfinder_recipe(index_t side, bool calibrated) {
  PathfinderRecipe r;
  if (side == 32) return r;
  check(side == 128, "[pathfinder] parameters are known for sides of 32 and 128; got {}", side);
  r.side = 128;
  r.paddle_length = 5;
  r.margins = {2, 3};
  r.thickness = 1.5;
  r.seed_distance = 20;
  r.marker_radius = 3;
  r.continuity = 1.8;
  r.distractors = calibrated ? 17 : 8;
  r.snake_contrast = calibrated ? 0.82 : 0.9;
  r.paddle_contrast = 1;
  return r;
}

struct PathfinderSampler::State {
  PathfinderRecipe recipe;
  std::map<index_t, Paddles> paddles;  // by margin
};

PathfinderSampler::PathfinderSampler(const PathfinderRecipe& recipe)
    : state_(new State{recipe, {}}) {
  check_recipe(recipe);
  for (index_t margin : recipe.margins) state_->paddles.try_emplace(margin, recipe, margin);
}
PathfinderSampler::~PathfinderSampler() = default;
PathfinderSampler::PathfinderSampler(PathfinderSampler&&) noexcept = default;

PathfinderImage PathfinderSampler::operator()(std::uint64_t number) {
  const PathfinderRecipe& r = state_->recipe;
  SampleStream random(r.seed, number);
  PathfinderImage result;
  result.connected = random.below(2) == 1;
  const index_t margin = r.margins[static_cast<std::size_t>(
      random.below(static_cast<std::int64_t>(r.margins.size())))];
  Scene scene(r, margin, state_->paddles.at(margin), random);
  std::optional<std::array<Curve, 2>> curves;
  constexpr int most_tries = 100'000;
  for (int tries = 0; !(curves = scene.long_curves()); scene.clear())
    check(++tries < most_tries, "[pathfinder] no two curves of {} paddles found room in {} tries",
          r.paddles, most_tries);
  Raster image(r.side, r.side);
  for (const Curve& curve : *curves) paint(image, curve, r.snake_contrast * r.paddle_contrast);
  for (index_t i = 0; i < r.distractors && scene.has_room(); ++i)
    for (int trial = 0; trial <= r.distractor_retries; ++trial)
      if (const auto curve = scene.distractor()) {
        paint(image, *curve, r.snake_contrast);
        break;
      }
  const std::size_t marked = static_cast<std::size_t>(random.below(2));
  paint_marker(image, (*curves)[marked].tail, r);
  paint_marker(image, (*curves)[result.connected ? marked : 1 - marked].tip, r);
  const double brightest = std::ranges::max(image.values);
  for (double v : image.values)
    result.pixels.push_back(static_cast<std::uint8_t>(255 * (v / brightest)));
  return result;
}

SequenceSet generate_pathfinder(const PathfinderRecipe& recipe, std::uint64_t first, index_t count,
                                const std::function<void(index_t)>& progress) {
  check(count >= 1, "[pathfinder] expected at least one image; got {}", count);
  check_recipe(recipe);
  const index_t pixels = recipe.side * recipe.side;
  SequenceSet set;
  set.tokens = Array::uninitialized(ElementType::u8, {count, pixels});
  set.lengths.assign(static_cast<std::size_t>(count), pixels);
  set.labels.resize(static_cast<std::size_t>(count));
  set.classes = 2, set.vocabulary = 256;
  std::mutex mutex;
  index_t done = 0;
  parallel_ranges(count, 16, [&](index_t begin, index_t end) {
    PathfinderSampler sampler(recipe);
    for (index_t i = begin; i < end; ++i) {
      const PathfinderImage image = sampler(first + static_cast<std::uint64_t>(i));
      std::ranges::copy(image.pixels, set.tokens.mutable_as<std::uint8_t>().data() + i * pixels);
      set.labels[static_cast<std::size_t>(i)] = image.connected;
    }
    const std::scoped_lock lock(mutex);
    done += end - begin;
    if (progress) progress(done);
  });
  return set;
}

}  // namespace flr::data
