// Whole models: parameter counts, symmetries, weights, spectra.
#include <doctest/doctest.h>

#include "flr/flr.hpp"

using namespace flr;

namespace {

models::FlareOptions paper(index_t c_in, index_t latents, index_t heads) {
  models::FlareOptions o;
  o.c_in = c_in, o.latents = latents, o.heads = heads;
  return o;
}

models::FlareOptions small() {
  models::FlareOptions o;
  o.channels = 16, o.heads = 2, o.latents = 5, o.blocks = 2;
  return o;
}

double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::abs(a[i] - b[i]));
  return worst;
}

}  // namespace

TEST_CASE("FLARE has the paper's parameter counts") {
  CHECK(models::Flare<float>(paper(2, 64, 8)).num_parameters() == 592641);    // elasticity
  CHECK(models::Flare<float>(paper(3, 256, 16)).num_parameters() == 691009);  // darcy
  CHECK(models::Flare<float>(paper(2, 256, 8)).num_parameters() == 690945);   // airfoil
  CHECK(models::Flare<float>(paper(2, 128, 8)).num_parameters() == 625409);   // pipe
  CHECK(models::Transformer<float>({}).num_parameters() == 662081);
}

TEST_CASE("permuting the tokens permutes the result") {
  manual_seed(1);
  const models::Flare<double> model(small());
  const auto x = randn<double>({2, 7, 2});
  const std::vector<index_t> order{3, 0, 6, 1, 5, 2, 4};
  const auto direct = index_select(model(x), 1, order).to_vector();
  CHECK(largest_difference(model(index_select(x, 1, order)).to_vector(), direct) < 1e-12);
}

TEST_CASE("encode and decode weights sum to 1 and give the layer's result") {
  manual_seed(2);
  const mixers::Flare<double> layer({.channels = 8, .heads = 2, .latents = 3});
  const auto x = randn<double>({2, 6, 8});
  const auto w = layer.weights(x);
  for (double s : sum(w.encode, {-1}).to_vector()) CHECK(s == doctest::Approx(1));
  for (double s : sum(w.decode, {-1}).to_vector()) CHECK(s == doctest::Approx(1));
  const auto direct = flare_mixer(layer.queries(), layer.keys(x), layer.values(x), 1);
  const auto by_weights = matmul(w.decode, matmul(w.encode, layer.values(x)));
  CHECK(largest_difference(direct.to_vector(), by_weights.to_vector()) < 1e-12);
}

TEST_CASE("with one latent every token reads the same vector") {
  manual_seed(3);
  const auto q = randn<double>({2, 1, 4}), k = randn<double>({1, 2, 5, 4}), v = randn<double>({1, 2, 5, 4});
  const auto y = flare_mixer(q, k, v), z = flare_encode(q, k, v);
  CHECK(largest_difference(y.to_vector(), broadcast_to(z, y.shape()).clone().to_vector()) < 1e-14);
}

TEST_CASE("eigenvalues of a symmetric matrix") {
  // The second-difference matrix: 2 − 2 cos(kπ/(n+1)).
  const int n = 40;
  std::vector<double> a(n * n, 0);
  for (int i = 0; i < n; ++i) {
    a[static_cast<std::size_t>(i * n + i)] = 2;
    if (i > 0) a[static_cast<std::size_t>(i * n + i - 1)] = a[static_cast<std::size_t>((i - 1) * n + i)] = -1;
  }
  const auto values = models::symmetric_eigenvalues(a, n);
  for (int k = 0; k < n; ++k)
    CHECK(values[static_cast<std::size_t>(k)] ==
          doctest::Approx(2 - 2 * std::cos((n - k) * 3.14159265358979323846 / (n + 1))).epsilon(1e-12));
  // And a full one: trace and sum of squares are kept.
  manual_seed(4);
  const auto r = randn<double>({30, 30});
  const auto s = (r + transpose(r, 0, 1)).to_vector();
  double trace = 0, squares = 0, sum1 = 0, sum2 = 0;
  for (int i = 0; i < 30; ++i) trace += s[static_cast<std::size_t>(31 * i)];
  for (double v : s) squares += v * v;
  for (double v : models::symmetric_eigenvalues(s, 30)) sum1 += v, sum2 += v * v;
  CHECK(sum1 == doctest::Approx(trace).epsilon(1e-10));
  CHECK(sum2 == doctest::Approx(squares).epsilon(1e-10));
}

TEST_CASE("the mixing spectrum is that of the N×N matrix") {
  manual_seed(5);
  const index_t M = 4, N = 9;
  const auto q = randn<double>({1, M, 3}), k = randn<double>({1, 1, N, 3});
  const auto spectrum = models::mixing_spectrum(q, k, 0.7);
  REQUIRE(spectrum.size() == 1);
  CHECK(spectrum[0][0] == doctest::Approx(1));
  // Traces of powers of W = W_dec W_enc are sums of powers of its eigenvalues.
  const auto s = matmul(unsqueeze(q, 0), transpose(k, -1, -2)) * 0.7;
  const auto w = reshape(matmul(transpose(softmax(s, -2), -1, -2), softmax(s, -1)), {N, N});
  auto power = w;
  for (int p = 1; p <= 4; ++p) {
    double trace = 0, sum = 0;
    for (index_t i = 0; i < N; ++i) trace += power.at(i, i);
    for (double v : spectrum[0]) sum += std::pow(v, p);
    CHECK(sum == doctest::Approx(trace).epsilon(1e-10));
    power = matmul(power, w);
  }
}

TEST_CASE("handles taken before the arena is built stay valid") {
  models::Flare<float> model(small());
  const auto before = model.parameter("in_proj.fc1.weight");
  const auto values = before.to_vector();
  model.arena();
  CHECK(before.to_vector() == values);
  const auto after = model.parameter("in_proj.fc1.weight");
  CHECK(before.data() == after.data());
}

TEST_CASE("one training step twice gives the same bits, for any number of threads") {
  std::vector<std::vector<float>> results;
  for (int threads : {1, 2, 3, 2}) {
    set_num_threads(threads);
    manual_seed(6);
    models::Flare<float> model({});
    optim::AdamW<float> optimizer(model, {.weight_decay = 1e-5});
    const auto x = rand({2, 300, 2}), y = randn({2, 300, 1});
    for (int i = 0; i < 2; ++i) {
      optimizer.zero_grad();
      backward(relative_l2(model(x), y));
      optim::clip_grad_norm(optimizer, 1.0);
      optimizer.step();
    }
    results.push_back(model.arena().values.to_vector());
  }
  set_num_threads(0);
  for (const auto& r : results) CHECK(r == results[0]);
}

TEST_CASE("options that do not fit are refused") {
  CHECK_THROWS_WITH_AS(models::Flare<float>(paper(2, 64, 7)), doctest::Contains("64 channels do not divide into 7 heads"), Error);
  models::FlareAblationsOptions o;
  o.shared_latents = true, o.latent_blocks = 1;
  CHECK_THROWS_WITH_AS((models::FlareAblations<float>(o)), doctest::Contains("exclude"), Error);
}
