// Batches in a seeded random order, the next one made while the last is used.
#pragma once

#include <cstring>
#include <functional>
#include <future>
#include <numeric>

#include "flr/core/create.hpp"
#include "flr/core/philox.hpp"
#include "flr/data/point_set.hpp"

namespace flr::data {

/// x [B,N,c_in] and y [B,N,c_out]; y is undefined for sets without targets.
template <Floating T>
struct Batch {
  Tensor<T> x, y;
  std::vector<index_t> samples;
};

/// The given samples as one batch. They must have the same number of points.
template <Floating T>
Batch<T> make_batch(const PointSet& set, std::vector<index_t> samples) {
  check(!samples.empty(), "[loader] expected at least one sample");
  const index_t n = set.points(samples[0]), b = static_cast<index_t>(samples.size());
  for (index_t i : samples)
    check(set.points(i) == n, "[loader] samples of {} and {} points cannot share a batch; use "
          "batch size 1 for sets whose samples differ", n, set.points(i));
  MemoryScope use(MemoryUse::data);
  const auto gather = [&](const std::vector<float>& from, index_t channels) {
    auto t = Tensor<T>::empty({b, n, channels});
    T* to = t.mutable_data();
    for (index_t k = 0; k < b; ++k) {
      const float* row = from.data() + set.offsets[static_cast<std::size_t>(
                                           samples[static_cast<std::size_t>(k)])] * channels;
      for (index_t i = 0; i < n * channels; ++i) *to++ = static_cast<T>(row[i]);
    }
    return t;
  };
  Batch<T> batch;
  batch.x = gather(set.x, set.c_in);
  if (set.has_targets()) batch.y = gather(set.y, set.c_out);
  batch.samples = std::move(samples);
  return batch;
}

/// The order of an epoch: a permutation that depends on seed and epoch only (Fisher–Yates with
/// Philox draws), so that a resumed run continues it.
inline std::vector<index_t> epoch_order(index_t samples, std::uint64_t seed, std::uint64_t epoch) {
  std::vector<index_t> order(static_cast<std::size_t>(samples));
  std::iota(order.begin(), order.end(), index_t{0});
  const std::array<std::uint32_t, 2> key{static_cast<std::uint32_t>(seed),
                                         static_cast<std::uint32_t>(seed >> 32) ^ 0x6c6f6164u};
  for (std::size_t i = order.size(); i > 1; --i) {
    const auto r = Philox4x32::block({static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(epoch),
                                      static_cast<std::uint32_t>(epoch >> 32), 0}, key);
    const std::uint64_t draw = (std::uint64_t{r[0]} << 32) | r[1];
    std::swap(order[i - 1], order[static_cast<std::size_t>(draw % i)]);
  }
  return order;
}

struct LoaderOptions {
  index_t batch_size = 1;
  bool shuffle = true, drop_last = true;
  std::uint64_t seed = 0;
};

/// Walks through one epoch after the other, making batches of type B with `make(samples)`, which
/// another thread calls. Not copyable; what `make` refers to must outlive it.
template <class B>
class BatchLoader {
 public:
  using Make = std::function<B(std::vector<index_t>)>;

  BatchLoader(index_t samples, Make make, LoaderOptions options)
      : samples_(samples), make_(std::move(make)), o_(options) {
    check(o_.batch_size >= 1, "[loader] expected a batch size of at least 1, got {}", o_.batch_size);
    check(batches() > 0, "[loader] {} samples do not fill a batch of {}", samples, o_.batch_size);
  }
  ~BatchLoader() {
    if (next_.valid()) next_.wait();
  }
  BatchLoader(const BatchLoader&) = delete;
  BatchLoader& operator=(const BatchLoader&) = delete;

  /// Batches per epoch.
  index_t batches() const {
    return o_.drop_last ? samples_ / o_.batch_size
                        : (samples_ + o_.batch_size - 1) / o_.batch_size;
  }

  /// Batch `index` of an epoch: a function of (seed, epoch, index) only. Asking for them in order
  /// finds the next one made already.
  B batch(index_t epoch, index_t index) {
    check(index >= 0 && index < batches(), "[loader] batch {} does not exist; there are {}", index,
          batches());
    B result = next_.valid() && next_epoch_ == epoch && next_index_ == index
                          ? next_.get()
                          : make_(samples(epoch, index));
    if (next_.valid()) next_.get();
    next_epoch_ = epoch, next_index_ = index + 1;
    if (next_index_ == batches()) ++next_epoch_, next_index_ = 0;
    next_ = std::async(std::launch::async, [this, list = samples(next_epoch_, next_index_)]() mutable {
      return make_(std::move(list));
    });
    return result;
  }

 private:
  std::vector<index_t> samples(index_t epoch, index_t index) {
    if (epoch != order_epoch_) {
      order_ = epoch_order(samples_, o_.seed, static_cast<std::uint64_t>(epoch));
      if (!o_.shuffle) std::iota(order_.begin(), order_.end(), index_t{0});
      order_epoch_ = epoch;
    }
    const index_t begin = index * o_.batch_size;
    const index_t end = std::min(begin + o_.batch_size, samples_);
    return {order_.begin() + begin, order_.begin() + end};
  }

  index_t samples_;
  Make make_;
  LoaderOptions o_;
  std::vector<index_t> order_;
  index_t order_epoch_ = -1;
  std::future<B> next_;
  index_t next_epoch_ = -1, next_index_ = -1;
};

/// Batches of samples of a point set; the set must outlive it.
template <Floating T>
class Loader : public BatchLoader<Batch<T>> {
 public:
  Loader(const PointSet& set, LoaderOptions options)
      : BatchLoader<Batch<T>>(
            set.samples(),
            [&set](std::vector<index_t> list) { return make_batch<T>(set, std::move(list)); },
            options) {}
};

}  // namespace flr::data
