// Mixers whose states are sums of outer products, on the GPU: values and every gradient against the
// composition in double on the CPU.
#include "compare.hpp"
#include "flr/mixers.hpp"

using namespace cuda_test;
using namespace flr::mixers;

namespace {

/// Tokens as a network has them, [B,N,H·D]; of a mask every fifth token or so is hidden.
struct Case {
  index_t B, H, N, D;
  bool mask = false;

  template <class T>
  Tensor<T> heads(const Tensor<T>& x) const {
    return x.reshape({B, N, H, D}).permute({0, 2, 1, 3});
  }
  template <class T>
  std::vector<Tensor<T>> heads(const std::vector<Tensor<T>>& x, std::size_t begin,
                               std::size_t end) const {
    std::vector<Tensor<T>> y;
    for (std::size_t i = begin; i < end; ++i) y.push_back(heads(x[i]));
    return y;
  }
  template <class T>
  static Tensor<T> merged(const Tensor<T>& y) {
    return y.permute({0, 2, 1, 3}).contiguous();
  }
  Tensor<std::uint8_t> keep(Device device) const {
    if (!mask) return {};
    std::vector<std::uint8_t> kept(static_cast<std::size_t>(B * N));
    for (std::size_t i = 0; i < kept.size(); ++i) kept[i] = i * i % 5 != 1;
    if (B > 1) std::fill(kept.begin(), kept.begin() + N, std::uint8_t{0});  // a sample of padding
    return from_vector(kept, {B, N}).to(device);
  }
  std::vector<Tensor<double>> inputs(int count) const {
    std::vector<Tensor<double>> x;
    for (int i = 0; i < count; ++i) x.push_back(draw({B, N, H * D}));
    return x;
  }
  std::string name(const char* mixer) const {
    return fmt::format("{} B{} H{} N{} D{}{}", mixer, B, H, N, D, mask ? " keep" : "");
  }
};

void check_triple(const Case& c) {
  compare_all(
      c.name("triple"),
      [=](const auto& t) {
        return c.merged(triple_attention(c.heads(t[0]), c.heads(t[1]), c.heads(t[2]), c.heads(t[3]),
                                         c.heads(t[4]), c.keep(t[0].device())));
      },
      c.inputs(5), 99, 2e-5);
}

void check_quad(const Case& c) {
  compare_all(
      c.name("quad"),
      [=](const auto& t) {
        return c.merged(quad_attention(c.heads(t, 0, 3), c.heads(t, 3, 6), c.heads(t[6]),
                                       c.keep(t[0].device())));
      },
      c.inputs(7), 99, 2e-5);
}

void check_multilinear(const Case& c) {
  compare_all(
      c.name("multilinear"),
      [=](const auto& t) {
        return c.merged(multilinear_attention(c.heads(t[0]), c.heads(t, 1, 3), c.heads(t, 3, 5),
                                              c.keep(t[0].device())));
      },
      c.inputs(5), 99, 2e-5);
}

/// Gates carry no gradient here: theirs are sums over everything, which cancel.
void check_strassen(const Case& c) {
  auto x = c.inputs(5);
  for (int i = 0; i < 4; ++i) x.push_back(draw({c.H}));
  compare_all(
      c.name("strassen"),
      [=](const auto& t) {
        return c.merged(strassen_linear_attention(c.heads(t[0]), c.heads(t[1]), c.heads(t[2]),
                                                  c.heads(t[3]), c.heads(t[4]),
                                                  {t[5], t[6], t[7], t[8]}, c.keep(t[0].device())));
      },
      x, 5, 2e-5);
}

/// Whether the table takes operands of this many axes.
template <class T>
bool taken(const std::vector<Tensor<T>>& x) {
  return has_outer_kernels("test", x, x.size());
}

}  // namespace

TEST_CASE("cuda outer products: triple attention") {
  manual_seed(21);
  for (index_t D : {8, 16, 32})
    for (index_t N : {1, 31, 33, 1025}) {
      if (small() && N > 100) continue;
      check_triple({2, D == 16 ? 8 : 3, N, D});
      check_triple({2, 2, N, D, true});
    }
  check_triple({2, 2, 50, 4});  // declined: the composition
  check_triple({1, 1, 20, 64});
  if (small()) return;
  check_triple({1, 8, 20'001, 16});
  check_triple({3, 1, 5'000, 32, true});
}

TEST_CASE("cuda outer products: quad attention") {
  manual_seed(22);
  for (index_t D : {8, 16})
    for (index_t N : {1, 33, 300}) {
      if (small() && N > 100) continue;
      check_quad({2, 2, N, D});
      check_quad({2, 3, N, D, true});
    }
  if (!small()) check_quad({1, 2, 4'001, 16});
}

TEST_CASE("cuda outer products: multilinear and linearised Strassen attention") {
  manual_seed(23);
  for (index_t D : {8, 16, 32, 64})
    for (index_t N : {1, 33, 1025})
      for (bool mask : {false, true}) {
        if (small() && N > 100) continue;
        check_multilinear({2, 3, N, D, mask});
        check_strassen({2, 3, N, D, mask});
      }
  check_multilinear({2, 2, 40, 24});  // declined
  if (small()) return;
  check_multilinear({1, 2, 70'001, 16});
  check_strassen({1, 4, 20'003, 8});
}

TEST_CASE("cuda outer products: one tensor in several places, gradients that accumulate") {
  manual_seed(24);
  for (index_t D : {8, 16, 32}) {
    const Case c{2, 2, 45, D};
    compare_all(
        c.name("same"),
        [=](const auto& t) {
          const auto q = c.heads(t[0]), k = c.heads(t[1]);
          return c.merged(triple_attention(q, q, k, k, k) + triple_attention(k, q, q, k, k));
        },
        c.inputs(2), 99, 2e-5);
  }
}

TEST_CASE("cuda outer products: rows that are apart, and tensors that are [B,H,N,D] in memory") {
  manual_seed(25);
  for (index_t D : {8, 16}) {
    const index_t B = 2, N = 37, H = 2;
    // A joint projection, cut into operands.
    compare_all(
        fmt::format("joint D{}", D),
        [=](const auto& t) {
          const auto part = [&](index_t i) {
            return slice(t[0], 2, i * H * D, (i + 1) * H * D)
                .reshape({B, N, H, D})
                .permute({0, 2, 1, 3});
          };
          return triple_attention(part(0), part(1), part(2), part(3), part(4)).contiguous();
        },
        {draw({B, N, 5 * H * D})}, 99, 2e-5);
    compare_all(
        fmt::format("copied D{}", D),
        [](const auto& t) { return triple_attention(t[0], t[1], t[2], t[3], t[4]).contiguous(); },
        {draw({B, H, N, D}), draw({B, H, N, D}), draw({B, H, N, D}), draw({B, H, N, D}),
         draw({B, H, N, D})},
        99, 2e-5);
  }
}

TEST_CASE("cuda outer products: what is taken and what is declined") {
  const auto tokens = [](index_t D) { return randn<float>({1, 2, 5, D}, Device::cuda); };
  const auto count = [&](index_t D, std::size_t n) {
    return std::vector<Tensor<float>>(n, tokens(D));
  };
  for (index_t D : {8, 16, 32, 64}) {
    CHECK(taken(count(D, 2)));
    CHECK(taken(count(D, 3)) == (D <= 32));
    CHECK(taken(count(D, 4)) == (D <= 16));
    CHECK_FALSE(taken(count(D, 5)));
  }
  CHECK_FALSE(taken(count(24, 3)));
  CHECK_FALSE(taken<double>({tokens(8).to<double>(), tokens(8).to<double>()}));
  const auto wide = randn<float>({1, 2, 5, 18}, Device::cuda);
  CHECK_FALSE(taken<float>({slice(wide, 3, 1, 9), slice(wide, 3, 1, 9)}));  // rows not aligned
  CHECK_FALSE(taken<float>({tokens(8), tokens(16)}));
}
