// Mixers of higher order: definitions in plain loops, gradients, padding, blocks.
#include "heads_by_loops.hpp"
#include "mixer_checks.hpp"

using namespace flr;
using namespace flr::mixers;

namespace {

/// y_i = Σ_jk exp(score) v1_j ⊙ v2_k / Σ_jk exp(score), by loops.
template <class Score>
Tensor<double> pairs_by_loops(const Tensor<double>& v1, const Tensor<double>& v2, Score&& score) {
  const index_t n = v1.size(2);
  return by_loops(v1.shape(), [&](index_t b, index_t h, index_t i, index_t d) {
    double up = 0, down = 0;
    for (index_t j = 0; j < n; ++j)
      for (index_t k = 0; k < n; ++k) {
        const double w = std::exp(score(b, h, i, j, k));
        up += w * v1.at(b, h, j, d) * v2.at(b, h, k, d);
        down += w;
      }
    return up / down;
  });
}

double third_order_score(const Heads& x, index_t b, index_t h, index_t i, index_t j, index_t k) {
  double s = 0;
  for (index_t d = 0; d < x[0].size(3); ++d)
    s += x[0].at(b, h, i, d) * x[1].at(b, h, j, d) * x[2].at(b, h, k, d);
  return s / std::sqrt(static_cast<double>(x[0].size(3)));
}

double strassen_score(const Heads& x, index_t b, index_t h, index_t i, index_t j, index_t k) {
  double s = 0;
  for (index_t d = 0; d < x[0].size(3); ++d) {
    const double p = x[0].at(b, h, i, d), q = x[1].at(b, h, j, d), r = x[2].at(b, h, k, d);
    s += p * q + q * r + r * p;
  }
  return s / std::sqrt(static_cast<double>(x[0].size(3)));
}

/// Gradients of f with respect to all heads.
template <class F>
Heads gradients(const Heads& heads, F&& f) {
  Heads x;
  for (const auto& t : heads) x.push_back(t.clone().requires_grad(true));
  const auto y = f(x);
  backward(sum(y * y));
  for (auto& t : x) t = t.grad();
  return x;
}

template <class F>
void check_gradcheck(const char* name, int count, F&& f) {
  CAPTURE(name);
  const auto result = gradcheck(f, random_heads(count, 4, 2));
  INFO(result.where);
  CHECK(result.ok);
}

}  // namespace

TEST_CASE("multilinear and norm attention are their sums") {
  manual_seed(1);
  const Heads x = random_heads(5);
  const index_t n = 6;
  const auto state = [&](const Tensor<double>& k, const Tensor<double>& v, index_t b, index_t h,
                         index_t i, index_t j) {
    double s = 0;
    for (index_t t = 0; t < n; ++t) s += k.at(b, h, t, i) * v.at(b, h, t, j);
    return s / static_cast<double>(n);
  };
  const auto expected = [&](bool both) {
    return by_loops(x[0].shape(), [&](index_t b, index_t h, index_t t, index_t j) {
      double y = 0;
      for (index_t i = 0; i < 3; ++i)
        y += x[0].at(b, h, t, i) * state(x[1], x[3], b, h, i, j) *
             (both ? state(x[2], x[4], b, h, i, j) : 1);
      return y;
    });
  };
  CHECK(largest_difference(multilinear_attention<double>(x[0], {x[1], x[2]}, {x[3], x[4]}),
                           expected(true)) < 1e-13);
  CHECK(largest_difference(norm_attention(x[0], x[1], x[3]), expected(false)) < 1e-13);
  CHECK_THROWS_WITH_AS(multilinear_attention<double>(x[0], {x[1]}, {x[2], x[3]}),
                       doctest::Contains("as many keys as values"), Error);
}

TEST_CASE("triple and quad attention are their sums, in any blocks") {
  manual_seed(2);
  const Heads x = random_heads(7, 7);
  const index_t n = 7, d = 3;
  const auto triple = by_loops(x[0].shape(), [&](index_t b, index_t h, index_t t, index_t j) {
    double y = 0;
    for (index_t s = 0; s < n; ++s)
      for (index_t i = 0; i < d; ++i)
        for (index_t k = 0; k < d; ++k)
          y += x[0].at(b, h, t, i) * x[1].at(b, h, t, k) * x[2].at(b, h, s, i) *
               x[3].at(b, h, s, k) * x[4].at(b, h, s, j);
    return y / static_cast<double>(n);
  });
  // Σ_ikl of products of pairs is the product of three dot products.
  const auto dot = [&](const Tensor<double>& p, const Tensor<double>& q, index_t b, index_t h,
                       index_t t, index_t s) {
    double y = 0;
    for (index_t i = 0; i < d; ++i) y += p.at(b, h, t, i) * q.at(b, h, s, i);
    return y;
  };
  const auto quad = by_loops(x[0].shape(), [&](index_t b, index_t h, index_t t, index_t j) {
    double y = 0;
    for (index_t s = 0; s < n; ++s)
      y += dot(x[0], x[3], b, h, t, s) * dot(x[1], x[4], b, h, t, s) * dot(x[2], x[5], b, h, t, s) *
           x[6].at(b, h, s, j);
    return y / static_cast<double>(n);
  });
  const auto run_triple = [&](const Heads& h, index_t block) {
    return triple_attention(h[0], h[1], h[2], h[3], h[4], {}, block);
  };
  const auto run_quad = [&](const Heads& h, index_t block) {
    return quad_attention<double>({h[0], h[1], h[2]}, {h[3], h[4], h[5]}, h[6], {}, block);
  };
  for (const index_t block : {0, 1, 3, 7}) {
    CAPTURE(block);
    CHECK(largest_difference(run_triple(x, block), triple) < 1e-12);
    CHECK(largest_difference(run_quad(x, block), quad) < 1e-12);
  }
  const Heads five(x.begin(), x.begin() + 5);
  const auto whole = gradients(five, [&](const Heads& h) { return run_triple(h, 0); });
  const auto parts = gradients(five, [&](const Heads& h) { return run_triple(h, 2); });
  const auto quad_whole = gradients(x, [&](const Heads& h) { return run_quad(h, 0); });
  const auto quad_parts = gradients(x, [&](const Heads& h) { return run_quad(h, 2); });
  for (std::size_t i = 0; i < whole.size(); ++i)
    CHECK(largest_difference(whole[i], parts[i]) < 1e-11);
  for (std::size_t i = 0; i < x.size(); ++i)
    CHECK(largest_difference(quad_whole[i], quad_parts[i]) < 1e-11);
}

TEST_CASE("linearised Strassen attention is its sum") {
  manual_seed(3);
  const Heads x = random_heads(5);
  const index_t n = 6, d = 3;
  std::array<Tensor<double>, 4> g;
  for (auto& each : g) each = randn<double>({2});
  const auto state = [&](int k, int v, index_t b, index_t h, index_t i, index_t j) {
    double s = 0;
    for (index_t t = 0; t < n; ++t)
      s += x[static_cast<std::size_t>(k)].at(b, h, t, i) *
           x[static_cast<std::size_t>(v)].at(b, h, t, j);
    return s / static_cast<double>(n);
  };
  const auto average = [&](int v, index_t b, index_t h, index_t j) {
    double s = 0;
    for (index_t t = 0; t < n; ++t) s += x[static_cast<std::size_t>(v)].at(b, h, t, j);
    return s / static_cast<double>(n);
  };
  const auto expected = by_loops(x[0].shape(), [&](index_t b, index_t h, index_t t, index_t j) {
    double y = 0;
    for (index_t i = 0; i < d; ++i) {
      const double q = x[0].at(b, h, t, i), s1 = state(1, 3, b, h, i, j),
                   s2 = state(2, 4, b, h, i, j);
      y += g[0].at(h) * q * s1 * average(4, b, h, j) + g[1].at(h) * s1 * s2 +
           g[2].at(h) * q * s2 * average(3, b, h, j) + g[3].at(h) * q * s1 * s2;
    }
    return y;
  });
  CHECK(largest_difference(strassen_linear_attention(x[0], x[1], x[2], x[3], x[4], g), expected) <
        1e-13);
}

TEST_CASE("attention to pairs is the softmax over them, in any blocks") {
  manual_seed(4);
  const Heads x = random_heads(5, 7);
  const auto third =
      pairs_by_loops(x[3], x[4], [&](auto... at) { return third_order_score(x, at...); });
  const auto triangle =
      pairs_by_loops(x[3], x[4], [&](auto... at) { return strassen_score(x, at...); });
  const auto run_third = [](const Heads& h, index_t block) {
    return third_order_attention(h[0], h[1], h[2], h[3], h[4], {}, block);
  };
  const auto run_strassen = [](const Heads& h, index_t block, bool legacy) {
    return strassen_attention(h[0], h[1], h[2], h[3], h[4], {}, {block, legacy});
  };
  for (const index_t block : {0, 1, 3, 7}) {
    CAPTURE(block);
    CHECK(largest_difference(run_third(x, block), third) < 1e-13);
    CHECK(largest_difference(run_strassen(x, block, false), triangle) < 1e-13);
    CHECK(largest_difference(run_strassen(x, block, true), triangle) < 1e-4);  // its 1e-6
  }
  const auto compare = [&](auto f) {
    const auto whole = gradients(x, [&](const Heads& h) { return f(h, index_t{0}); });
    const auto parts = gradients(x, [&](const Heads& h) { return f(h, index_t{2}); });
    for (std::size_t i = 0; i < x.size(); ++i)
      CHECK(largest_difference(whole[i], parts[i]) < 1e-12);
  };
  compare(run_third);
  compare([&](const Heads& h, index_t block) { return run_strassen(h, block, false); });
  compare([&](const Heads& h, index_t block) { return run_strassen(h, block, true); });
}

TEST_CASE("a block of queries keeps memory at O(N^2)") {
  manual_seed(5);
  const index_t n = 96, cube = n * n * n * index_t{sizeof(double)};
  Heads x;
  for (int i = 0; i < 5; ++i) x.push_back(randn<double>({1, 1, n, 2}).requires_grad(true));
  const auto peak = [&](index_t block, bool strassen) {
    for (auto& t : x) t.zero_grad();
    flr::detail::cpu_pool().reset_peak();
    const index_t before = flr::detail::cpu_pool().stats().active;
    backward(sum(strassen ? strassen_attention(x[0], x[1], x[2], x[3], x[4], {}, {block, false})
                          : third_order_attention(x[0], x[1], x[2], x[3], x[4], {}, block)));
    return flr::detail::cpu_pool().stats().peak - before;
  };
  for (const bool strassen : {false, true}) {
    CAPTURE(strassen);
    CHECK(peak(n, strassen) > cube);
    CHECK(peak(1, strassen) < cube / 4);
  }
}

TEST_CASE("Strassen attention bears large scores; the reference's factors do not") {
  manual_seed(6);
  const Heads x = random_heads(5, 6, 3, 30);
  const auto y = strassen_attention(x[0], x[1], x[2], x[3], x[4]);
  const auto stable =
      pairs_by_loops(x[3], x[4], [&](index_t b, index_t h, index_t i, index_t j, index_t k) {
        double most = -1e300;
        for (index_t p = 0; p < 6; ++p)
          for (index_t q = 0; q < 6; ++q) most = std::max(most, strassen_score(x, b, h, i, p, q));
        return strassen_score(x, b, h, i, j, k) - most;
      });
  CHECK(largest_difference(y, stable) < 1e-9);
  const auto legacy = strassen_attention(x[0], x[1], x[2], x[3], x[4], {}, {0, true});
  CHECK(largest_difference(legacy, stable) > 1);
  const auto keep = ones<double>({2, 6}).to<std::uint8_t>();
  CHECK_THROWS_WITH_AS(strassen_attention(x[0], x[1], x[2], x[3], x[4], keep, {0, true}),
                       doctest::Contains("no padding mask"), Error);
}

TEST_CASE("gradients on heads") {
  manual_seed(8);
  check_gradcheck("multilinear", 5, [](const Heads& h) {
    return multilinear_attention<double>(h[0], {h[1], h[2]}, {h[3], h[4]});
  });
  check_gradcheck("triple", 5, [](const Heads& h) {
    return triple_attention(h[0], h[1], h[2], h[3], h[4], {}, 3);
  });
  check_gradcheck("quad", 7, [](const Heads& h) {
    return quad_attention<double>({h[0], h[1], h[2]}, {h[3], h[4], h[5]}, h[6], {}, 3);
  });
  check_gradcheck("third_order", 5, [](const Heads& h) {
    return third_order_attention(h[0], h[1], h[2], h[3], h[4], {}, 3);
  });
  for (const bool legacy : {false, true})
    check_gradcheck("strassen", 5, [legacy](const Heads& h) {
      return strassen_attention(h[0], h[1], h[2], h[3], h[4], {}, {3, legacy});
    });
}

TEST_CASE("modules: gradients, padding, bf16") {
  const index_t channels = 4, heads = 2;
  ProjectedOptions p;
  p.channels = channels, p.heads = heads;
  p.norm_q = p.norm_k = true;
  const auto make = [](auto options, auto mixer_of) {
    return [=](auto scalar) { return mixer_of(scalar, options); };
  };
#define FLR_MAKE(Mixer, options) \
  make(options,                  \
       [](auto scalar, const auto& o) { return std::make_unique<Mixer<decltype(scalar)>>(o); })
  for (const int layers : {-1, 1}) {
    MultilinearOptions m;
    static_cast<ProjectedOptions&>(m) = p;
    m.layers = layers, m.states = 3;
    check_mixer("multilinear", channels, FLR_MAKE(Multilinear, m));
  }
  for (const bool legacy : {false, true}) {
    NormAttentionOptions n{channels, heads, 0, legacy};
    check_mixer("norm_attention", channels, FLR_MAKE(NormAttention, n));
  }
  check_mixer("triple", channels, FLR_MAKE(Triple, p));
  check_mixer("quad", channels, FLR_MAKE(Quad, p));
  check_mixer("triple1", channels, FLR_MAKE(Triple1, (Triple1Options{channels, heads})));
  StrassenLinearOptions s;
  static_cast<ProjectedOptions&>(s) = p;
  check_mixer("strassen_linear", channels, FLR_MAKE(StrassenLinear, s));
  for (const PairScore score : {PairScore::third_order, PairScore::strassen})
    for (const index_t block : {0, 2}) {
      ThirdOrderOptions t{.channels = channels, .heads = heads, .score = score, .block = block};
      check_mixer("third_order", channels, FLR_MAKE(ThirdOrder, t));
    }
#undef FLR_MAKE
}

TEST_CASE("linearised Strassen gates: legacy starts with nothing") {
  StrassenLinearOptions o;
  o.channels = 4, o.heads = 2;
  const auto largest = [&](bool legacy) {
    o.legacy = legacy;
    const StrassenLinear<double> module(o);
    return max(abs(module.gates[0])).item();
  };
  CHECK(largest(true) == 0);
  CHECK(largest(false) == 1);
}

TEST_CASE("in a model on token sequences: every name, padding, and what is refused") {
  models::SequenceOptions o;
  o.vocabulary = 7, o.labels = 3, o.max_length = 6, o.blocks = 2, o.channels = 4, o.heads = 2;
  o.kv_layers = -1, o.ffn_layers = 0;
  const auto ids = from_vector<index_t>({1, 2, 3, 4, 0, 0}, {1, 6});
  const auto keep = from_vector<std::uint8_t>({1, 1, 1, 1, 0, 0}, {1, 6});
  for (const char* name : {"multilinear", "norm_attention", "strassen", "triple", "triple1", "quad",
                           "third_order", "ema"})
    for (const bool legacy : {false, true}) {
      CAPTURE(name);
      CAPTURE(legacy);
      o.mixer = name, o.legacy = legacy, o.attn_drop = 0;
      manual_seed(10);
      const models::Lra<double> model(o);
      const auto y = model(ids, keep);
      CHECK(y.shape() == Shape{1, 3});
      // The reference's shell pools padding too.
      if (!legacy) CHECK(largest_difference(y, model(slice(ids, 1, 0, 4).contiguous())) < 1e-12);
      o.attn_drop = 0.1;
      if (!legacy)
        CHECK_THROWS_WITH_AS(models::Lra<double>{o}, doctest::Contains("no dropout of its weights"),
                             Error);
    }
  o.attn_drop = 0, o.legacy = false, o.mixer = "third_order", o.third_order_method = "triangle";
  CHECK_THROWS_WITH_AS(models::Lra<double>{o}, doctest::Contains("third_order_method"), Error);
  o.mixer = "quad", o.qk_dim_ratio = 2;
  CHECK_THROWS_WITH_AS(models::Lra<double>{o}, doctest::Contains("qk_dim_ratio"), Error);
}
