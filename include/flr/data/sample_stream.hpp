// The random numbers of one sample of a generated set.
#pragma once

#include <cstdint>
#include <utility>

#include "flr/core/error.hpp"
#include "flr/core/philox.hpp"

namespace flr::data {

/// A Philox stream named by (seed, sample, purpose): sample i is the same on any thread and whether
/// or not the samples before it were made.
class SampleStream {
 public:
  SampleStream(std::uint64_t seed, std::uint64_t sample, std::uint64_t purpose = 0)
      : seed_(seed), sample_(sample), purpose_(purpose) {}

  std::uint32_t word() {
    if (at_ == 4) {
      words_ = stream_block(seed_, sample_, purpose_, block_++);
      at_ = 0;
    }
    return words_[at_++];
  }

  /// Uniform in [0, 1).
  double uniform() {
    const std::uint32_t high = word();
    return uniform_double(high, word());
  }

  /// Uniform in {0 … n − 1}, without bias: draws beyond the largest multiple of n are made again.
  std::int64_t below(std::int64_t n) {
    check(n >= 1 && n <= 0xFFFFFFFF, "[random] expected a range of 1 to 2^32 - 1; got {}", n);
    const auto range = static_cast<std::uint32_t>(n);
    const std::uint32_t excess = (0 - range) % range;  // 2³² mod n
    std::uint32_t draw = word();
    while (draw < excess) draw = word();
    return draw % range;
  }

  /// Uniform in {low … high}.
  std::int64_t between(std::int64_t low, std::int64_t high) { return low + below(high - low + 1); }

  bool chance(double p) { return uniform() < p; }

  /// A uniform permutation of a vector, an array or a span (Fisher–Yates).
  template <class Range>
  void shuffle(Range&& items) {
    for (std::size_t i = items.size(); i > 1; --i)
      std::swap(items[i - 1], items[static_cast<std::size_t>(below(static_cast<std::int64_t>(i)))]);
  }

 private:
  std::uint64_t seed_, sample_, purpose_, block_ = 0;
  std::array<std::uint32_t, 4> words_{};
  unsigned at_ = 4;
};

}  // namespace flr::data
