// In place of kernels/common/shared.cuh: loads and stores at offsets in the emulated block's shared
// memory, which must be aligned as on a GPU.
#pragma once

#include "device.cuh"

namespace flr::cuda {

namespace emulated_shared {

template <class T>
unsigned char* place(unsigned at) {
  if (at % sizeof(T) || at + sizeof(T) > ::emulated::dynamic_shared_memory().size())
    ::emulated::give_up("an address outside of shared memory, or not aligned");
  return ::emulated::dynamic_shared() + at;
}
template <class T>
T load(unsigned at) {
  T x;
  std::memcpy(&x, place<T>(at), sizeof(T));
  return x;
}
template <class T>
void save(unsigned at, const T& x) {
  std::memcpy(place<T>(at), &x, sizeof(T));
}

}  // namespace emulated_shared

inline unsigned shared_address(const void* x) {
  return unsigned(static_cast<const unsigned char*>(x) - ::emulated::dynamic_shared());
}
inline float4 load4(unsigned at) {
  return emulated_shared::load<float4>(at);
}
inline void save4(unsigned at, float4 x) {
  emulated_shared::save(at, x);
}
inline uint2 load2(unsigned at) {
  return emulated_shared::load<uint2>(at);
}
inline void save2(unsigned at, uint2 x) {
  emulated_shared::save(at, x);
}
inline void save1(unsigned at, std::uint32_t x) {
  emulated_shared::save(at, x);
}

inline float load_float(unsigned at) {
  return emulated_shared::load<float>(at);
}

/// "cp.async"; nothing is read where there is nothing.
template <int Bytes>
void copy_async(unsigned to, const void* from, bool exists) {
  if (to % Bytes || (exists && reinterpret_cast<std::uintptr_t>(from) % Bytes))
    ::emulated::give_up("a copy to shared memory is not aligned");
  emulated_shared::place<std::array<unsigned char, Bytes>>(to);
  ::emulated::Block::current()->copy(to, exists ? from : nullptr, Bytes);
}
inline void wait_for_copies() {
  ::emulated::Block::current()->finish_copies(0, true);
}
inline void end_of_copies() {
  ::emulated::Block::current()->end_of_copies();
}
template <int Left>
void wait_for_copies_but() {
  ::emulated::Block::current()->finish_copies(Left, false);
}

/// "ldmatrix": row r of matrix i lies where lane 8i + r says; lane l receives elements 2 (l % 4) and
/// the next one of row l / 4, or of column l / 4.
template <bool Transposed, std::size_t Count>
void load_matrices(std::uint32_t (&b)[Count], unsigned address) {
  const unsigned lane = threadIdx.x % 32, line = lane / 4;
  const auto& all =
      ::emulated::Block::current()->exchange(::emulated::Instruction::matrices, {address});
  for (unsigned i = 0; i < Count; ++i) {
    std::uint32_t halves[2];
    for (unsigned e = 0; e < 2; ++e) {
      const unsigned other = lane % 4 * 2 + e;
      const unsigned row = Transposed ? other : line, column = Transposed ? line : other;
      if (all[8 * i + row][0] % 16) ::emulated::give_up("a row of a matrix is not aligned");
      halves[e] = emulated_shared::load<std::uint16_t>(all[8 * i + row][0] + 2 * column);
    }
    b[i] = halves[0] | halves[1] << 16;
  }
}

}  // namespace flr::cuda

inline std::size_t __cvta_generic_to_shared(const void* x) {
  return flr::cuda::shared_address(x);
}
inline void* __cvta_shared_to_generic(std::size_t at) {
  return emulated::dynamic_shared() + at;
}
