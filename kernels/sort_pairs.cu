// CUB's radix sort (part of the CUDA toolkit): stable, of integers, so its result has no freedom.
#include "sort_pairs.hpp"

#include <cub/device/device_radix_sort.cuh>

namespace flr::cuda {

void sort_pairs(const std::uint32_t* keys, std::uint32_t* sorted_keys,
                const std::uint32_t* positions, std::uint32_t* sorted_positions, index_t n,
                int bits) {
  const auto sort = [&](void* memory, std::size_t& bytes) {
    check_cuda(
        cub::DeviceRadixSort::SortPairs(memory, bytes, keys, sorted_keys, positions,
                                        sorted_positions, static_cast<int>(n), 0, bits, stream()),
        "sort_pairs");
  };
  std::size_t bytes = 0;
  sort(nullptr, bytes);
  const Scratch<unsigned char> memory(static_cast<index_t>(bytes > 0 ? bytes : 1));
  sort(memory.data(), bytes);
}

}  // namespace flr::cuda
