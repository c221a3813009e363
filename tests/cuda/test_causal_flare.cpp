// Causal FLARE as one operation on the GPU, against the composition on the CPU in double.
#include "compare.hpp"
#include "flr/mixers/causal_flare.hpp"

using namespace cuda_test;

namespace {

struct Case {
  index_t B, H, M, N, E, D;
  int hide = 0;        ///< 1: every fifth token, 2: the first 70 too
  bool shared = true;  ///< latents [H,M,E], else [B,H,M,E]
  double spread = 1;   ///< of the scores

  std::string text() const {
    return fmt::format("causal FLARE B{} H{} M{} N{} E{} D{} hide {} spread {}{}", B, H, M, N, E, D,
                       hide, spread, shared ? "" : " latents of their own");
  }
  mixers::CausalFlareOptions options(Device device) const {
    mixers::CausalFlareOptions o{.scale = 0.7};
    if (!hide) return o;
    std::vector<std::uint8_t> kept(static_cast<std::size_t>(B * N));
    for (index_t i = 0; i < B * N; ++i)
      kept[static_cast<std::size_t>(i)] = i % 5 != 1 && !(hide == 2 && i % N < 70);
    o.keep = from_vector(kept, {B, N}).to(device);
    return o;
  }
  std::vector<Tensor<double>> inputs() const {
    const double size = spread / std::sqrt(double(E));
    return {draw(shared ? Shape{H, M, E} : Shape{B, H, M, E}, size), draw({B, N, H * E}),
            draw({B, N, H * D})};
  }
};

/// Over all pairs of tokens, in T throughout, for scores that have exponentials in T: the library's
/// own composition computes bf16 in float.
template <class T>
Tensor<T> by_pairs(const Case& c, const std::vector<Tensor<T>>& t) {
  const Tensor<T> k = nn::split_heads(t[1], c.H), v = nn::split_heads(t[2], c.H);
  const Tensor<T> s = mixers::detail::latent_scores(t[0], k, 0.7), p = softmax(s, -1);
  const Tensor<T> gathered = nn::hide_padding("causal_flare", exp(s), c.options(s.device()).keep);
  const auto until = mixers::lower_triangle<T>(c.N, s.device());
  const Tensor<T> read = p / (matmul(until, gathered) + 1e-10);
  const Tensor<T> weights = matmul(read, transpose(gathered, -1, -2)) * until;
  return nn::merge_heads(matmul(weights, v)).contiguous();
}

/// The one operation where there is one; on the CPU and in double the composition.
template <class T>
Tensor<T> in_one(const Case& c, const std::vector<Tensor<T>>& t) {
  const Tensor<T> k = nn::split_heads(t[1], c.H), v = nn::split_heads(t[2], c.H);
  const auto o = c.options(k.device());
  if (t[0].device().is_cpu() || std::same_as<T, double>)
    return nn::merge_heads(mixers::causal_flare(t[0], k, v, o)).contiguous();
  const Tensor<T> y = fused_causal_flare(t[0], k, v, {.scale = o.scale, .keep = o.keep});
  REQUIRE(y.defined());
  return nn::merge_heads(y).contiguous();
}

void check_case(const Case& c, double float_tolerance = 2e-5) {
  const auto f = [=](const auto& t) { return in_one(c, t); };
  const auto plain = [=](const auto& t) { return by_pairs(c, t); };
  compare_with_plain(c.text(), f, plain, c.inputs(), Rule{.float_tolerance = float_tolerance});
}

}  // namespace

TEST_CASE("cuda causal FLARE: lengths, latents and widths") {
  manual_seed(61);
  for (const index_t N : {1, 31, 64, 65, 300})
    if (!small() || N == 65) check_case({1, 2, 5, N, 8, 8});
  for (const index_t M : {1, 32, 100, 128})
    if (!small() || M == 100) check_case({1, 2, M, 130, 16, 16});
  for (const auto& [E, D] :
       {std::pair<index_t, index_t>{24, 24}, {32, 32}, {64, 64}, {2, 3}, {33, 40}})
    if (!small() || E == 33) check_case({2, 2, 40, 100, E, D});
  check_case({1, 1, 128, 65, 64, 64});
}

TEST_CASE("cuda causal FLARE: segments") {
  manual_seed(62);
  check_case({1, 1, 33, small() ? 300 : 1025, 16, 16});
  check_case({1, 600, 8, 130, 4, 4});
  if (small()) return;
  check_case({2, 8, 32, 1025, 32, 32});
}

TEST_CASE("cuda causal FLARE: masks, latents of every batch") {
  manual_seed(63);
  check_case({2, 2, 20, 150, 16, 16, 1});
  check_case({2, 2, 20, 150, 16, 16, 2, false});
  check_case({3, 1, 100, 90, 8, 24, 1, false});
}

TEST_CASE("cuda causal FLARE: latents that all heads share") {
  manual_seed(67);
  const Case c{2, 3, 20, 90, 16, 16};
  const auto of_heads = [=](auto t) {
    t[0] = broadcast_to(t[0], {c.H, c.M, c.E});
    return t;
  };
  compare_with_plain(
      c.text(), [=](const auto& t) { return in_one(c, of_heads(t)); },
      [=](const auto& t) { return by_pairs(c, of_heads(t)); },
      {draw({1, c.M, c.E}, 0.25), draw({c.B, c.N, c.H * c.E}), draw({c.B, c.N, c.H * c.D})},
      Rule{.float_tolerance = 2e-5});
}

TEST_CASE("cuda causal FLARE: scores of any size") {
  manual_seed(64);
  for (const double spread : {30.0, 300.0}) {
    const Case c{1, 2, 33, 200, 8, 8, 2, true, spread};
    // Scores of 300 in float have an error of some 1e-5, as exponents.
    compare<float>(
        c.text(), [=](const auto& t) { return in_one(c, t); },
        [=](const auto& t) { return in_one(c, t); }, c.inputs(),
        Rule{.float_tolerance = 1e-6 * std::max(spread, 20.0)});
  }
}

TEST_CASE("cuda causal FLARE: a state goes on where the tokens before left off") {
  manual_seed(65);
  const auto q = randn<float>({2, 20, 16}, Device::cuda);
  const auto k = randn<float>({2, 2, 500, 16}, Device::cuda),
             v = randn<float>({2, 2, 500, 8}, Device::cuda);
  const auto whole = mixers::causal_flare(q, k, v);
  const auto close = [](const Tensor<float>& a, const Tensor<float>& b) {
    return relative(doubles(a.contiguous()), doubles(b.contiguous()));
  };
  mixers::CausalFlareState<float> state, composed;
  index_t first = 0;
  for (const index_t end : {70, 71, 371, 500}) {
    const auto y =
        mixers::causal_flare(q, slice(k, 2, first, end), slice(v, 2, first, end), {}, &state);
    CHECK(state.tokens == end);
    CHECK(close(y, slice(whole, 2, first, end)) < 1e-5);
    first = end;
  }
  setenv("FLR_MIXER", "composition", 1);
  CHECK(close(mixers::causal_flare(q, k, v, {}, &composed), whole) < 1e-5);
  unsetenv("FLR_MIXER");
  CHECK(close(state.lse, composed.lse) < 1e-5);
  CHECK(close(state.z, composed.z) < 1e-5);
  // With gradients the composition takes it, which goes on from the same state.
  const auto own = randn<float>({2, 20, 16}, Device::cuda).requires_grad(true);
  mixers::CausalFlareState<float> recorded;
  CHECK(mixers::causal_flare(own, k, v, {}, &recorded).requires_grad());
  CHECK(recorded.z.requires_grad());
}

TEST_CASE("cuda causal FLARE: what has no kernel takes the composition") {
  manual_seed(66);
  const auto q = randn<float>({1, 4, 65}, Device::cuda),
             wide = randn<float>({1, 1, 20, 65}, Device::cuda);
  CHECK(!fused_causal_flare(q, wide, wide).defined());
  CHECK(mixers::causal_flare(q, wide, wide).shape() == wide.shape());
  const auto many = randn<float>({1, 129, 8}, Device::cuda),
             x = randn<float>({1, 1, 20, 8}, Device::cuda);
  CHECK(!fused_causal_flare(many, x, x).defined());
  const auto exact = randn<double>({1, 1, 20, 8}, Device::cuda);
  CHECK(!fused_causal_flare(randn<double>({1, 4, 8}, Device::cuda), exact, exact).defined());
  CHECK(fused_causal_flare(slice(many, 1, 0, 128).contiguous(), x, x).defined());
}
