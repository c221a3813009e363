// MEGA, the reference's layer of its kind, and Laplace attention.
#include <numbers>

#include "heads_by_loops.hpp"
#include "mixer_checks.hpp"

using namespace flr;
using namespace flr::mixers;

TEST_CASE("Laplace attention is its definition, with a relative bias, in any blocks") {
  manual_seed(7);
  const Heads x = random_heads(3, 6);
  const auto table = randn<double>({2 * 9 - 1});
  const auto bias = relative_bias(table, 6);
  const auto expected = by_loops(x[2].shape(), [&](index_t b, index_t h, index_t i, index_t d) {
    double y = 0;
    for (index_t j = 0; j < 6; ++j) {
      double s = 0;
      for (index_t e = 0; e < 3; ++e) s += x[0].at(b, h, i, e) * x[1].at(b, h, j, e);
      s = s / 6 + table.at(8 + j - i);
      const double sigma = 1 / std::sqrt(4 * std::numbers::pi);
      y +=
          0.5 * (1 + std::erf((s - std::sqrt(0.5)) / (sigma * std::sqrt(2)))) * x[2].at(b, h, j, d);
    }
    return y;
  });
  for (const index_t block : {0, 1, 4})
    CHECK(largest_difference(laplace_attention(x[0], x[1], x[2], bias, {}, block), expected) <
          1e-12);
  const auto result = gradcheck(
      [](const Heads& h) {
        return laplace_attention(h[0], h[1], h[2], relative_bias(h[3], 6), {}, 4);
      },
      {x[0], x[1], x[2], table});
  INFO(result.where);
  CHECK(result.ok);
  CHECK_THROWS_WITH_AS(relative_bias(table, 10), doctest::Contains("at most 9"), Error);
}

TEST_CASE("MEGA is its equations") {
  manual_seed(9);
  const index_t n = 70, c = 2, z_width = 3, v_width = 4, order = 3;
  const Mega<double> mega({.channels = c,
                           .shared = z_width,
                           .values = v_width,
                           .order = order,
                           .max_length = n,
                           .block = 32});
  const auto x = randn<double>({1, n, c});
  const auto p = [&](const std::string& name) { return mega.parameter(name); };
  using Rows = std::vector<std::vector<double>>;
  const auto rows = [&](index_t width) {
    return Rows(static_cast<std::size_t>(n), std::vector<double>(static_cast<std::size_t>(width)));
  };
  const auto at = [](auto& table, index_t t, index_t d) -> auto& {
    return table[static_cast<std::size_t>(t)][static_cast<std::size_t>(d)];
  };
  const auto sigma = [](double s) { return 1 / (1 + std::exp(-s)); };
  const auto swish = [&](double s) { return s * sigma(s); };

  Rows e = rows(c), in = rows(c);
  for (index_t t = 0; t < n; ++t)
    for (index_t d = 0; d < c; ++d) {
      at(in, t, d) = x.at(0, t, d);
      double s = p("ema.omega").at(d) * x.at(0, t, d);
      for (index_t from = 0; from < n; ++from)
        for (int way = 0; way < 2; ++way) {
          if (way == 0 ? from > t : from < t) continue;
          const index_t row = d + way * c;
          for (index_t j = 0; j < order; ++j) {
            const double alpha = sigma(p("ema.alpha_logits").at(row, j));
            const double delta = sigma(p("ema.delta_logits").at(row, j));
            s += p("ema.eta").at(row, j) / std::sqrt(3.0) * alpha * p("ema.beta").at(row, j) *
                 std::pow(1 - alpha * delta, static_cast<double>(std::abs(t - from))) *
                 x.at(0, from, d);
          }
        }
      at(e, t, d) = swish(s);
    }
  const auto dense = [&](const std::string& name, const Rows& from, index_t width,
                         bool bias = true) {
    const auto w = p(name + ".weight");
    Rows y = rows(width);
    for (index_t t = 0; t < n; ++t)
      for (index_t i = 0; i < width; ++i) {
        at(y, t, i) = bias ? p(name + ".bias").at(i) : 0;
        for (index_t j = 0; j < w.size(1); ++j) at(y, t, i) += w.at(i, j) * at(from, t, j);
      }
    return y;
  };
  const Rows z = dense("z_proj", e, z_width), v = dense("v_proj", in, v_width),
             gamma = dense("gate_proj1", e, v_width), phi = dense("gate_proj2", e, c);
  Rows gated = rows(v_width);
  for (index_t t = 0; t < n; ++t)
    for (index_t s = 0; s < n; ++s) {
      double score = 0;
      for (index_t i = 0; i < z_width; ++i) {
        const auto turned = [&](index_t which, index_t row) {
          return p("kappa").at(which, i) * swish(at(z, row, i)) + p("mu").at(which, i);
        };
        score += turned(0, t) * turned(1, s);
      }
      score = score / static_cast<double>(n) + p("relative_bias").at(n - 1 + s - t);
      const double w =
          0.5 * (1 + std::erf((score - std::sqrt(0.5)) * std::sqrt(2 * std::numbers::pi)));
      for (index_t i = 0; i < v_width; ++i)
        at(gated, t, i) += w * swish(at(v, s, i)) * swish(at(gamma, t, i));
    }
  const Rows h = dense("h_proj", e, c), u = dense("u_proj", gated, c, false);
  const auto y = mega(x);
  double worst = 0;
  for (index_t t = 0; t < n; ++t)
    for (index_t d = 0; d < c; ++d) {
      const double g = sigma(at(phi, t, d));
      const double expected = g * swish(at(h, t, d) + at(u, t, d)) + (1 - g) * at(in, t, d);
      worst = std::max(worst, std::abs(expected - y.at(0, t, d)));
    }
  CHECK(worst < 1e-12);
}

TEST_CASE("modules: gradients, padding, bf16") {
  const index_t channels = 4;
  check_mixer("ema_attention", channels, [=](auto scalar) {
    return std::make_unique<EmaAttention<decltype(scalar)>>(EmaAttentionOptions{channels});
  });
  for (const index_t length : {0, 20})
    check_mixer("mega", channels, [=](auto scalar) {
      return std::make_unique<Mega<decltype(scalar)>>(MegaOptions{
          .channels = channels, .shared = 3, .values = 5, .order = 3, .max_length = length});
    });
}
