// Causal mixers: chunked, recurrent and masked forms agree; gradients; streams.
#include <doctest/doctest.h>

#include "flr/flr.hpp"
#include "mixer_checks.hpp"

using namespace flr;

namespace {

/// FLARE on every prefix, and of that the last token.
Tensor<double> causal_flare_by_prefixes(const Tensor<double>& q, const Tensor<double>& k,
                                        const Tensor<double>& v, double scale) {
  std::vector<Tensor<double>> y;
  for (index_t t = 0; t < k.size(2); ++t)
    y.push_back(flare_decode(q, slice(k, 2, t, t + 1),
                             flare_encode(q, slice(k, 2, 0, t + 1), slice(v, 2, 0, t + 1), scale),
                             scale));
  return concat(y, 2);
}

Tensor<double> causal_linear_masked(const Tensor<double>& q, const Tensor<double>& k,
                                    const Tensor<double>& v, const mixers::CausalLinearOptions& o) {
  const auto w = matmul(q, transpose(k, -1, -2)) *
                 mixers::lower_triangle<double>(q.size(2), Device::cpu);
  if (!o.normalize) return matmul(w, v) * o.scale;
  return matmul(w, v) / (sum(w, {-1}, true) + o.epsilon);
}

}  // namespace

TEST_CASE("causal linear attention is the masked product, for any length and chunk") {
  manual_seed(41);
  for (index_t n : {1, 5, 16, 17, 70})
    for (index_t chunk : {1, 3, 16, 64})
      for (bool normalize : {false, true}) {
        CAPTURE(n);
        CAPTURE(chunk);
        const mixers::CausalLinearOptions o{.scale = 0.3, .normalize = normalize, .chunk = chunk};
        const auto q = rand<double>({2, 2, n, 3}), k = rand<double>({2, 2, n, 3});
        const auto v = randn<double>({2, 2, n, 4});
        CHECK(largest_difference(mixers::causal_linear_attention(q, k, v, o),
                                 causal_linear_masked(q, k, v, o)) < 1e-11);
      }
}

TEST_CASE("causal FLARE is FLARE on every prefix, for any length and chunk") {
  manual_seed(42);
  for (index_t n : {1, 2, 5, 16, 17, 70})
    for (index_t chunk : {1, 4, 16, 64}) {
      CAPTURE(n);
      CAPTURE(chunk);
      const auto q = randn<double>({2, 3, 4}), k = randn<double>({2, 2, n, 4});
      const auto v = randn<double>({2, 2, n, 5});
      CHECK(largest_difference(mixers::causal_flare(q, k, v, {.scale = 1.5, .chunk = chunk}),
                               causal_flare_by_prefixes(q, k, v, 1.5)) < 1e-12);
    }
}

TEST_CASE("causal FLARE without the tokens that a mask hides; those before the first kept read zeros") {
  manual_seed(52);
  const auto q = randn<double>({2, 3, 4}), k = randn<double>({1, 2, 11, 4}), v = randn<double>({1, 2, 11, 5});
  const auto keep = from_vector(std::vector<std::uint8_t>{0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1}, {1, 11});
  const auto expected = causal_flare_by_prefixes(q, slice(k, 2, 5, 11), slice(v, 2, 5, 11), 1);
  for (index_t chunk : {1, 4, 64}) {
    CAPTURE(chunk);
    const auto y = mixers::causal_flare(q, k, v, {.chunk = chunk, .keep = keep});
    CHECK(largest_difference(slice(y, 2, 0, 5).clone(), zeros<double>({1, 2, 5, 5})) == 0);
    CHECK(largest_difference(slice(y, 2, 5, 11).clone(), expected) < 1e-12);
  }
}

TEST_CASE("gradients of the causal forms") {
  manual_seed(43);
  for (bool normalize : {false, true})
    CHECK(gradcheck(
        [&](const auto& x) {
          return mixers::causal_linear_attention(
              x[0], x[1], x[2], {.scale = 0.5, .normalize = normalize, .epsilon = 0.1, .chunk = 4});
        },
        {rand<double>({1, 2, 10, 3}), rand<double>({1, 2, 10, 3}), randn<double>({1, 2, 10, 2})}));
  CHECK(gradcheck(
      [](const auto& x) { return mixers::causal_flare(x[0], x[1], x[2], {.scale = 0.8, .chunk = 4}); },
      {randn<double>({2, 3, 4}), randn<double>({1, 2, 10, 4}), randn<double>({1, 2, 10, 3})}));
  // Latents of every sample, and a state that gradients flow through.
  CHECK(gradcheck(
      [](const auto& x) {
        mixers::CausalFlareState<double> state{x[3], x[4]};
        const auto y = mixers::causal_flare(x[0], x[1], x[2], {.chunk = 2}, &state);
        return concat<double>({reshape(y, {-1}), reshape(state.lse, {-1}), reshape(state.z, {-1})}, 0);
      },
      {randn<double>({2, 1, 3, 4}), randn<double>({2, 1, 3, 4}), randn<double>({2, 1, 3, 2}),
       randn<double>({2, 1, 3}), randn<double>({2, 1, 3, 2})}));
}

TEST_CASE("a stream in pieces and in single tokens gives what the whole gives") {
  manual_seed(44);
  const index_t n = 40;
  const auto q = randn<double>({2, 3, 4}), k = randn<double>({2, 2, n, 4}), v = randn<double>({2, 2, n, 5});
  const auto f = rand<double>({2, 2, n, 4}), g = rand<double>({2, 2, n, 4});
  const mixers::CausalLinearOptions o{.normalize = true, .chunk = 8};
  mixers::CausalFlareState<double> flare;
  mixers::CausalLinearState<double> linear;
  std::vector<Tensor<double>> y, w;
  index_t at = 0;
  for (index_t piece : {7, 1, 16, 3}) {
    const auto part = [&](const auto& x) { return slice(x, 2, at, at + piece); };
    y.push_back(mixers::causal_flare(q, part(k), part(v), {.chunk = 4}, &flare));
    w.push_back(mixers::causal_linear_attention(part(f), part(g), part(v), o, &linear));
    at += piece;
  }
  for (; at < n; ++at) {
    const auto token = [&](const auto& x) { return slice(x, 2, at, at + 1); };
    y.push_back(mixers::causal_flare_step(q, token(k), token(v), flare));
    w.push_back(mixers::causal_linear_step(token(f), token(g), token(v), o, linear));
  }
  CHECK(largest_difference(concat(y, 2), mixers::causal_flare(q, k, v)) < 1e-12);
  CHECK(largest_difference(concat(w, 2), mixers::causal_linear_attention(f, g, v, {.normalize = true})) < 1e-12);
  CHECK(flare.lse.shape() == Shape{2, 2, 3});
  CHECK(flare.z.shape() == Shape{2, 2, 3, 5});
  // From the first token on.
  mixers::CausalFlareState<double> from_nothing;
  y.clear();
  for (index_t t = 0; t < n; ++t)
    y.push_back(mixers::causal_flare_step(q, slice(k, 2, t, t + 1), slice(v, 2, t, t + 1), from_nothing));
  CHECK(largest_difference(concat(y, 2), mixers::causal_flare(q, k, v)) < 1e-12);
}

TEST_CASE("no token sees a later one") {
  manual_seed(45);
  const auto q = randn<double>({2, 3, 4}), k = randn<double>({1, 2, 33, 4}), v = randn<double>({1, 2, 33, 5});
  const auto y = mixers::causal_flare(q, k, v, {.chunk = 16});
  for (index_t t : {0, 1, 7, 15, 16, 31}) {
    CAPTURE(t);
    // Everything behind t replaced by something else, and large.
    const auto changed = [&](const auto& x) {
      auto copy = x.clone();
      slice(copy, 2, t + 1, 33).copy_(randn<double>(slice(x, 2, t + 1, 33).shape()) * 20.0);
      return copy;
    };
    const auto other = mixers::causal_flare(q, changed(k), changed(v), {.chunk = 16});
    CHECK(largest_difference(slice(other, 2, 0, t + 1).clone(), slice(y, 2, 0, t + 1).clone()) < 1e-13);
  }
}

TEST_CASE("causal FLARE in float bears scores that jump by hundreds within a chunk") {
  manual_seed(46);
  const auto q = randn<double>({2, 4, 8}) * 5, k = randn<double>({1, 2, 80, 8}) * 20;
  const auto v = randn<double>({1, 2, 80, 8});
  const auto exact = causal_flare_by_prefixes(q, k, v, 1);
  auto kf = k.to<float>().requires_grad(true);
  const auto y = mixers::causal_flare(q.to<float>(), kf, v.to<float>());
  CHECK(largest_difference(y.to<double>(), exact) < 5e-3);  // scores of 300 are known to 3e-5
  backward(sum(square(y)));
  for (float g : kf.grad().to_vector()) CHECK(std::isfinite(g));
}

TEST_CASE("causal modules: gradients, padding, bf16, streams") {
  const mixers::FlareOptions o{.channels = 8, .heads = 2, .latents = 3, .k_layers = 1, .v_layers = 0};
  check_mixer("causal_flare", 8,
              [&](auto scalar) { return std::make_unique<mixers::CausalFlare<decltype(scalar)>>(o); });
  const mixers::LinearAttentionOptions l{.channels = 8, .heads = 2, .causal = true};
  check_mixer("causal linear attention", 8, [&](auto scalar) {
    return std::make_unique<mixers::LinearAttention<decltype(scalar)>>(l);
  });
  manual_seed(47);
  for (bool shared : {false, true}) {
    auto options = o;
    options.shared_latents = shared;
    const mixers::CausalFlare<double> m(options);
    const auto x = randn<double>({2, 9, 8});
    mixers::CausalFlareState<double> state;
    std::vector<Tensor<double>> y{m.prefill(slice(x, 1, 0, 5), state)};
    for (index_t t = 5; t < 9; ++t) y.push_back(m.step(slice(x, 1, t, t + 1), state));
    CHECK(largest_difference(concat(y, 1), m(x)) < 1e-12);
  }
  // Keys that know their positions go on counting from call to call.
  const nn::Rotary<double> rotary(9, 4);
  const mixers::CausalFlare<double> turned(o, &rotary);
  const auto x = randn<double>({2, 9, 8});
  mixers::CausalFlareState<double> state;
  std::vector<Tensor<double>> y{turned.prefill(slice(x, 1, 0, 4), state),
                                turned.prefill(slice(x, 1, 4, 6), state)};
  for (index_t t = 6; t < 9; ++t) y.push_back(turned.step(slice(x, 1, t, t + 1), state));
  CHECK(largest_difference(concat(y, 1), turned(x)) < 1e-12);
  CHECK(state.tokens == 9);
  CHECK_THROWS_WITH_AS(turned.step(slice(x, 1, 0, 1), state), doctest::Contains("the tables hold 9"),
                       Error);
  // Padding in a prompt, here behind 3 of 5 tokens, leaves nothing to the tokens that follow.
  const mixers::CausalFlare<double> plain(o);
  const auto keep = from_vector(std::vector<std::uint8_t>{1, 1, 1, 0, 0}, {1, 5});
  mixers::CausalFlareState<double> padded, without;
  const auto first = plain.prefill(slice(x, 1, 0, 5), padded, keep);
  CHECK(largest_difference(slice(first, 1, 0, 3).clone(), plain.prefill(slice(x, 1, 0, 3), without)) < 1e-12);
  for (index_t t = 5; t < 8; ++t)
    CHECK(largest_difference(plain.step(slice(x, 1, t, t + 1), padded),
                             plain.step(slice(x, 1, t, t + 1), without)) < 1e-12);
  CHECK_THROWS_WITH_AS(mixers::causal_flare(zeros({2, 3, 4}), zeros({1, 2, 5, 4}), zeros({1, 2, 5, 4}),
                                            {.chunk = 12}),
                       doctest::Contains("power of 2"), Error);
}

TEST_CASE("linear attention in bf16 sums in float") {
  manual_seed(48);
  constexpr index_t n = 3000;  // a sum of as many positive products outgrows 8 bits of mantissa
  const auto q = rand({1, 2, n, 4}), k = rand({1, 2, n, 4}), v = rand({1, 2, n, 4});
  const auto bq = q.to<bf16>(), bk = k.to<bf16>(), bv = v.to<bf16>();
  const auto fq = bq.to<float>(), fk = bk.to<float>(), fv = bv.to<float>();  // rounded, no more than they
  const auto close = [](const Tensor<bf16>& y, const Tensor<float>& exact) {
    return largest_difference(y.to<double>(), exact.to<bf16>().to<double>()) == 0;
  };
  CHECK(close(mixers::linear_attention(bq, bk, bv), mixers::linear_attention(fq, fk, fv)));
  const mixers::CausalLinearOptions o{.normalize = true};
  mixers::CausalLinearState<float> state, exact;  // of float for both
  CHECK(close(mixers::causal_linear_attention(bq, bk, bv, o, &state),
              mixers::causal_linear_attention(fq, fk, fv, o, &exact)));
  const auto last = [](const auto& x) { return slice(x, 2, n - 1, n); };
  CHECK(close(mixers::causal_linear_step(last(bq), last(bk), last(bv), o, state),
              mixers::causal_linear_step(last(fq), last(fk), last(fv), o, exact)));
  CHECK(largest_difference(state.s.to<double>(), exact.s.to<double>()) == 0);
}
