// Pathfinder: two dashed curves among shorter ones; do the two discs lie on the same curve?
// Source: Linsley, Kim, Veerabadran, Windolf, Serre, "Learning long-range spatial dependencies with
// horizontal gated recurrent units", NeurIPS 2018; parameters as Tay et al., "Long Range Arena",
// ICLR 2021, used them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "flr/data/sequence_set.hpp"

namespace flr::data {

/// Lengths in pixels, contrasts relative to the discs' amplitude of 1.
struct PathfinderRecipe {
  std::uint64_t seed = 0;
  index_t side = 32;
  index_t padding = 1;  ///< border pixels that no curve may touch
  index_t paddle_length = 2;
  std::vector<index_t> margins{1};  ///< free pixels around a paddle; one is drawn for each image
  double thickness = 0.5;
  index_t supersampling = 2;
  double seed_distance = 7;  ///< between the tails of the two long curves
  double marker_radius = 1.5;
  double continuity = 1.0;  ///< how much a curve resists turning
  index_t paddles = 14, distractor_paddles = 4;
  index_t distractors = 5;  ///< that are tried; not all of them find room
  double snake_contrast = 2,
         paddle_contrast = 0.75;  ///< long curves have the product, others the first
  int paddle_retries = 2, distractor_retries = 4;
};

/// The documented parameters, side 32 or 128. At 32² they give what 1,500 images of the original
/// generator show (1.2 of the 5 distractors find room on average), so `calibrated` changes nothing;
/// at 128² it takes what fits 16 real images better: 17 distractors and a contrast of 0.82 instead
/// of 8 and 0.9.
PathfinderRecipe pathfinder_recipe(index_t side, bool calibrated = false);

struct PathfinderImage {
  std::vector<std::uint8_t> pixels;  ///< [side, side]
  bool connected = false;            ///< the label
};

/// Makes image after image; image i depends on the recipe and on i alone. One object serves one
/// thread.
class PathfinderSampler {
 public:
  explicit PathfinderSampler(const PathfinderRecipe& recipe);
  ~PathfinderSampler();
  PathfinderSampler(PathfinderSampler&&) noexcept;
  PathfinderImage operator()(std::uint64_t number);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Images [first, first + count) as a set whose tokens are the pixels, row by row, on num_threads()
/// threads. `progress` is told how many are done, from one thread at a time.
SequenceSet generate_pathfinder(const PathfinderRecipe& recipe, std::uint64_t first, index_t count,
                                const std::function<void(index_t)>& progress = {});

}  // namespace flr::data
