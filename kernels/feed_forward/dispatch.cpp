// The table's entries for the feed-forward layer: bf16; float and double keep its composition.
#include <concepts>

#include "feed_forward/entries.hpp"
#include "table.hpp"

namespace flr::cuda {

template <class T>
bool supports_feed_forward(const FeedForwardParams<T>& p, std::string* why) {
  if constexpr (std::same_as<T, bf16>) {
    return feed_forward_fits(p, why);
  } else {
    if (why) *why = "expected bf16";
    return false;
  }
}

template <class T>
void feed_forward(const FeedForwardParams<T>& p) {
  if constexpr (std::same_as<T, bf16>)
    feed_forward_passes(p);
  else
    fail("[feed_forward] only bf16 has kernels");
}

template <class T>
void feed_forward_backward(const FeedForwardBackwardParams<T>& p) {
  if constexpr (std::same_as<T, bf16>)
    feed_forward_backward_passes(p);
  else
    fail("[feed_forward] only bf16 has kernels");
}

template bool supports_feed_forward(const FeedForwardParams<float>&, std::string*);
template bool supports_feed_forward(const FeedForwardParams<double>&, std::string*);
template bool supports_feed_forward(const FeedForwardParams<bf16>&, std::string*);
template void feed_forward(const FeedForwardParams<float>&);
template void feed_forward(const FeedForwardParams<double>&);
template void feed_forward(const FeedForwardParams<bf16>&);
template void feed_forward_backward(const FeedForwardBackwardParams<float>&);
template void feed_forward_backward(const FeedForwardBackwardParams<double>&);
template void feed_forward_backward(const FeedForwardBackwardParams<bf16>&);

}  // namespace flr::cuda
