// In place of kernels/common/wgmma.cuh: a warpgroup's products from matrices in the emulated block's shared
// memory, computed when they are issued or as late as they may be.
#pragma once

#include "mma.cuh"
#include "shared.cuh"

namespace flr::cuda {

inline constexpr bool has_wgmma = emulated_capability == 90;

inline int in_panels(int rows, int row, int column) {
  return (column / 64 * rows + row) * 64 + ((column / 8 % 8 ^ row % 8) * 8) + column % 8;
}
inline void fence_for_wgmma() {}

using WideSums = float[8][2][4];
using NarrowSums = float[4][2][4];

struct Wgmma {
  /// Elements by their rows and columns, where "128-byte swizzle" puts them: three bits of an address
  /// change three others.
  struct Matrix {
    unsigned at, panel;
    double element(unsigned row, unsigned column) const {
      const unsigned place = at + column / 64 * panel + row * 128 + column % 64 * 2;
      bf16 x;
      x.bits = emulated_shared::load<std::uint16_t>(place ^ place / 128 % 8 * 16);
      return double(float(x));
    }
  };
  template <bool Transposed, int Rows = 128>
  static Matrix matrix(unsigned shared, int step) {
    if (shared % 1024) ::emulated::give_up("a matrix of wgmma is not aligned");
    return {Transposed ? shared + unsigned(step) * 2048 : shared + unsigned(step / 4 * Rows * 128 + step % 4 * 32),
            Rows * 128};
  }
  template <class Sums>
  static void begin(Sums&) {}
  template <std::size_t N>
  static void hold(std::uint32_t (&)[N][4]) {}

  template <bool Transposed>
  static void add(WideSums& d, const std::uint32_t (&a)[4], const Matrix& b) {
    add_rows<Transposed>(d, a, b);
  }
  template <bool Across>
  static void add(NarrowSums& d, const Matrix& a, const Matrix& b, bool first) {
    ::emulated::Block::current()->product([&d, a, b, first] {
      const unsigned own = threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4;
      multiply(
          d, first,
          [&](unsigned r, unsigned k) { return Across ? a.element(k, own + 8 * r) : a.element(own + 8 * r, k); },
          [&](unsigned n, unsigned k) { return b.element(n, k); });
    });
  }
  static void commit() { ::emulated::Block::current()->end_of_products(); }
  template <int Left, class Sums>
  static void wait(Sums&) {
    ::emulated::Block::current()->finish_products(Left);
  }
  static void finish(WideSums& d) {
    commit();
    wait<0>(d);
  }

 private:
  /// The lane's rows come from its quad's registers.
  template <bool Transposed, class Sums>
  static void add_rows(Sums& d, const std::uint32_t (&a)[4], const Matrix& b) {
    const emulated::Operands mine{a[0], a[1], a[2], a[3]};
    ::emulated::Block::current()->product([&d, mine, b] {
      const auto& all = ::emulated::Block::current()->exchange(::emulated::Instruction::mma, mine);
      const unsigned lane = threadIdx.x % 32;
      multiply(
          d, false,
          [&](unsigned r, unsigned k) {
            return double(emulated_mma::half_of(all[lane / 4 * 4 + k % 8 / 2][r + k / 8 * 2], k % 2));
          },
          [&](unsigned n, unsigned k) { return Transposed ? b.element(k, n) : b.element(n, k); });
    });
  }
  template <std::size_t N, class A, class B>
  static void multiply(float (&d)[N][2][4], bool first, A a, B b) {
    for (unsigned j = 0; j < N; ++j)
      for (unsigned x = 0; x < 2; ++x)
        for (unsigned e = 0; e < 4; ++e) {
          const unsigned column = 16 * j + 8 * x + threadIdx.x % 4 * 2 + e % 2;
          double sum = first ? 0 : d[j][x][e];
          for (unsigned k = 0; k < 16; ++k) sum += a(e / 2, k) * b(column, k);
          d[j][x][e] = float(sum);
        }
  }
};

}  // namespace flr::cuda
