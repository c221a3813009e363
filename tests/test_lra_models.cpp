// Models on token sequences: parameter counts, padding, gradients, positions, the recursive model.
#include <doctest/doctest.h>

#include "flr/flr.hpp"

using namespace flr;
using models::Answer;
using models::Pooling;
using models::Positions;
using models::SequenceOptions;

namespace {

SequenceOptions small(const std::string& mixer) {
  SequenceOptions o;
  o.vocabulary = 9, o.labels = 3, o.max_length = 8;
  o.channels = 8, o.heads = 2, o.blocks = 2, o.mixer = mixer;
  o.latents = 4, o.kv_layers = o.ffn_layers = 1, o.mlp_ratio = 2, o.linformer_k = 4;
  o.kernel = "elu";
  return o;
}

/// Weights of a size at which every part of the model matters.
template <class T>
void enlarge(nn::Module<T>& model) {
  NoGrad scope;
  for (auto& p : model.parameters()) {
    Tensor<T> value = p.value;
    value.copy_(value + randn<T>(value.shape()) * T(0.3));
  }
}

Tensor<index_t> tokens_of(index_t batch, index_t length) {
  std::vector<index_t> ids;
  for (index_t i = 0; i < batch * length; ++i) ids.push_back(1 + (i * 7 + i / 3) % 8);
  return from_vector(ids, {batch, length});
}

double worst(const Tensor<double>& a, const Tensor<double>& b) {
  REQUIRE(a.shape() == b.shape());
  return max(abs(a - b)).item();
}

}  // namespace

TEST_CASE("the Long Range Arena models have the reference's parameter counts") {
  SequenceOptions o;
  o.vocabulary = 16, o.labels = 10, o.max_length = 1, o.mixer = "transformer";
  const index_t rest = 17 * 128 + 2 * 256 + 10 * 129;  // embeddings, two norms, the last layer
  CHECK(models::Lra<float>(o).num_parameters() == 4 * 198272 + rest);
  o.mixer = "flare";
  CHECK(models::Lra<float>(o).num_parameters() == 4 * 281088 + rest);
  o.pool = Pooling::cls;  // no norms; a class token and its position
  CHECK(models::Lra<float>(o).num_parameters() == 4 * 281088 + rest - 512 + 256);
  o.mlp_head = true;
  CHECK(models::Lra<float>(o).num_parameters() == 4 * 281088 + rest - 512 + 256 + 128 * 129);
}

TEST_CASE("luna carries packed tokens from block to block") {
  SequenceOptions o;
  o.vocabulary = 16, o.labels = 10, o.max_length = 1, o.mixer = "luna", o.latents = 64;
  const index_t rest = 17 * 128 + 2 * 256 + 10 * 129;
  const index_t block = 3 * 256 + 7 * 128 * 129 + (2 * 4 * 128 * 128 + 5 * 128);
  CHECK(models::Lra<float>(o).num_parameters() == 4 * block + 64 * 128 + rest);

  manual_seed(10);
  o = small("luna"), o.positions = Positions::none;
  models::Lra<double> model(o);
  enlarge(model);
  const auto ids = tokens_of(2, 8);
  const auto value = [&](const char* name) { return model.parameter(name); };
  // The first block by hand: what the second one reads are the packed tokens that it leaves.
  const Tensor<double> x = embedding(ids, value("token_emb.token_embed.weight"));
  const auto normed = [&](const Tensor<double>& t, const std::string& at) {
    return layer_norm(t, value((at + ".weight").c_str()), value((at + ".bias").c_str()), 1e-5);
  };
  const auto dense = [&](const Tensor<double>& t, const std::string& at) {
    return linear(t, value((at + ".weight").c_str()), value((at + ".bias").c_str()));
  };
  const auto heads = [](const Tensor<double>& t) { return nn::split_heads(t, 2); };
  Tensor<double> tokens = x, packed = unsqueeze(value("packed_embed"), 0);
  for (const std::string at : {"blocks.0", "blocks.1"}) {
    const auto nx = normed(tokens, at + ".norm1"), np = normed(packed, at + ".norm_p");
    const auto att = at + ".att.";
    const auto p = nn::merge_heads(sdpa(heads(dense(np, att + "pq_proj")), heads(dense(nx, att + "pk_proj")),
                                        heads(dense(nx, att + "pv_proj"))));
    const auto y = nn::merge_heads(sdpa(heads(dense(nx, att + "q_proj")), heads(dense(p, att + "k_proj")),
                                        heads(dense(p, att + "v_proj"))));
    tokens = tokens + dense(y, att + "out_proj");
    tokens = tokens + dense(gelu(dense(normed(tokens, at + ".norm2"), at + ".mlp.fc1")), at + ".mlp.fc2");
    packed = packed + p;
  }
  const auto pooled = normed(mean(normed(tokens, "final_norm"), {1}), "cls_proj.1");
  CHECK(worst(model(ids), dense(pooled, "cls_proj.2")) < 1e-12);

  CHECK_THROWS_WITH_AS(model.recompute_blocks(true), doctest::Contains("carry packed tokens"), Error);
  o.proj_drop = 0.1;
  CHECK_THROWS_WITH_AS(models::Lra<double>{o}, doctest::Contains("luna has no dropout"), Error);
}

TEST_CASE("padding changes nothing") {
  for (const auto& mixer : models::lra_mixers<double>())
    for (const Positions positions : {Positions::learned, Positions::sinusoid, Positions::rotary})
      for (const Pooling pool : {Pooling::mean, Pooling::max, Pooling::cls}) {
        if (positions == Positions::rotary && !mixer.takes_rotary) continue;
        CAPTURE(mixer.name);
        CAPTURE(static_cast<int>(positions));
        CAPTURE(static_cast<int>(pool));
        manual_seed(3);
        SequenceOptions o = small(mixer.name);
        o.positions = positions, o.pool = pool, o.padding = 0;
        models::Lra<double> model(o);
        enlarge(model);
        std::vector<index_t> ids = tokens_of(2, 8).to_vector();
        std::vector<std::uint8_t> keep(16, 1);
        for (std::size_t i : {5, 6, 7}) ids[i] = 0, keep[i] = 0;  // the first sequence has 5 tokens
        const auto mask = from_vector(keep, {2, 8});
        const auto padded = model(from_vector(ids, {2, 8}), mask);
        const auto alone =
            model(from_vector(std::vector<index_t>(ids.begin(), ids.begin() + 5), {1, 5}));
        CHECK(worst(slice(padded, 0, 0, 1), alone) < 1e-12);
        CHECK(worst(slice(padded, 0, 1, 2), model(slice(from_vector(ids, {2, 8}), 0, 1, 2).clone())) <
              1e-12);
        // The mask is what does it, and other padding would be no different.
        CHECK(worst(padded, model(from_vector(ids, {2, 8}))) > 1e-6);
        ids[6] = 4;
        CHECK(worst(padded, model(from_vector(ids, {2, 8}), mask)) < 1e-12);
      }
}

TEST_CASE("padding changes no answer for a token, and no document of a pair") {
  manual_seed(4);
  SequenceOptions o = small("flare");
  o.answer = Answer::token;
  models::Lra<double> each(o);
  enlarge(each);
  const auto ids = tokens_of(1, 8);
  const auto mask = from_vector(std::vector<std::uint8_t>{1, 1, 1, 1, 1, 0, 0, 0}, {1, 8});
  CHECK(worst(slice(each(ids, mask), 1, 0, 5), each(slice(ids, 1, 0, 5).clone())) < 1e-12);

  o.answer = Answer::pair;
  models::Lra<double> pair(o);
  enlarge(pair);
  const auto both = from_vector(std::vector<index_t>{1, 2, 3, 0, 4, 5, 0, 0}, {1, 8});
  const auto kept = from_vector(std::vector<std::uint8_t>{1, 1, 1, 0, 1, 1, 0, 0}, {1, 8});
  const auto y = pair(both, kept);
  CHECK(y.shape() == Shape{1, 3});
  const auto longer = from_vector(std::vector<index_t>{1, 2, 3, 7, 7, 4, 5, 7, 7, 7}, {1, 10});
  const auto longer_kept = from_vector(std::vector<std::uint8_t>{1, 1, 1, 0, 0, 1, 1, 0, 0, 0}, {1, 10});
  CHECK(worst(y, pair(longer, longer_kept)) < 1e-12);
  CHECK(worst(y, pair(longer)) > 1e-6);
}

TEST_CASE("gradients of the sequence models") {
  for (const char* mixer : {"transformer", "flare", "luna"})
    for (const Pooling pool : {Pooling::mean, Pooling::max, Pooling::cls}) {
      CAPTURE(mixer);
      manual_seed(5);
      SequenceOptions o = small(mixer);
      o.pool = pool, o.blocks = 1, o.channels = 4, o.mlp_head = true;
      o.emb_drop = o.cls_drop = 0.2;
      // A norm over heads of two channels is a step, too steep for differences.
      if (models::lra_mixer<double>(mixer).packed) o.blocks = 2, o.channels = 8, o.qk_norm = true;
      else o.attn_drop = o.proj_drop = 0.2, o.positions = Positions::rotary;
      models::Lra<double> model(o);
      enlarge(model);
      const auto ids = tokens_of(2, 5);
      const auto mask = from_vector(std::vector<std::uint8_t>{1, 1, 1, 1, 1, 1, 1, 1, 0, 0}, {2, 5});
      // gradcheck changes copies of its inputs; the model's parameters take their values.
      std::vector<Tensor<double>> values;
      auto parameters = model.parameters();
      const RandomState start = random_state();
      for (auto& p : parameters) p.value.zero_grad();
      const auto loss = [&] {
        random_state() = start;
        return cross_entropy(model(ids, mask), from_vector(std::vector<index_t>{2, 0}));
      };
      backward(loss());
      double largest = 0;
      for (auto& p : parameters) {
        const std::vector<double> g = p.value.grad().to_vector();
        double* v = p.value.mutable_data();
        for (std::size_t i = 0; i < g.size(); i += 3) {
          NoGrad scope;
          const double before = v[i], h = 1e-5;
          v[i] = before + h;
          const double up = loss().item();
          v[i] = before - h;
          const double down = loss().item();
          v[i] = before;
          const double error = std::abs((up - down) / (2 * h) - g[i]);
          if (error > largest) largest = error;
          if (error > 1e-7) MESSAGE(p.name << " element " << i << ": " << g[i]);
        }
      }
      CHECK(largest < 1e-7);
    }
}

TEST_CASE("rotary positions are a rotation, relative, and differentiable") {
  manual_seed(6);
  const nn::Rotary<double> rotary(16, 6);
  const auto x = randn<double>({1, 2, 7, 6});
  const auto y = rotary(x);
  CHECK(worst(sum(square(x), {-1}), sum(square(y), {-1})) < 1e-12);
  // The same q and k at every place: the product depends on the distance alone.
  const auto q = broadcast_to(randn<double>({1, 1, 1, 6}), {1, 1, 16, 6});
  const auto k = broadcast_to(randn<double>({1, 1, 1, 6}), {1, 1, 16, 6});
  const auto products = [&](const nn::Rotary<double>& r) {
    return matmul(r(q.clone()), transpose(r(k.clone()), -1, -2));
  };
  const auto p = products(rotary);
  CHECK(std::abs(p.at(0, 0, 3, 5) - p.at(0, 0, 9, 11)) < 1e-12);
  CHECK(std::abs(p.at(0, 0, 3, 5) - p.at(0, 0, 3, 6)) > 1e-6);
  const nn::Rotary<double> faulty(16, 6, nn::RotaryLayout::halves);
  const auto f = products(faulty);
  CHECK(std::abs(f.at(0, 0, 3, 5) - f.at(0, 0, 9, 11)) > 1e-6);
  for (const auto* r : {&rotary, &faulty}) {
    const auto result = gradcheck([r](const auto& in) { return (*r)(in[0]); }, {x});
    CHECK_MESSAGE(result, result.where);
  }
}

TEST_CASE("attention dropout: the mean over draws is attention, and padding stays hidden") {
  manual_seed(7);
  const auto q = randn<double>({1, 2, 3, 4}), k = randn<double>({2, 2, 5, 4}),
             v = randn<double>({2, 2, 5, 4});
  SdpaOptions<double> options;
  options.keep = from_vector(std::vector<std::uint8_t>{1, 1, 1, 0, 0, 1, 1, 1, 1, 1}, {2, 5});
  const auto exact = sdpa(q, k, v, options);
  CHECK(worst(mixers::dropped_attention(q, k, v, options, 0.5, false), exact) == 0);
  auto total = zeros<double>(exact.shape());
  const int draws = 4000;
  for (int i = 0; i < draws; ++i)
    total = total + mixers::dropped_attention(q, k, v, options, 0.3, true);
  CHECK(worst(total * (1.0 / draws), exact) < 0.1);
  const auto v2 = v.clone();
  v2.slice(2, 3, 5).slice(0, 0, 1).fill_(100);
  const RandomState start = random_state();
  const auto a = mixers::dropped_attention(q, k, v, options, 0.3, true);
  random_state() = start;
  CHECK(worst(a, mixers::dropped_attention(q, k, v2, options, 0.3, true)) == 0);
  CHECK(worst(a, exact) > 1e-3);
}

TEST_CASE("padding whose vectors are zero has gradients all the same") {
  SequenceOptions o = small("linear");
  o.positions = Positions::rotary, o.padding = 0;
  for (const char* kernel : {"identity", "elu_norm"}) {
    o.kernel = kernel;
    models::Lra<double> model(o);
    const auto mask = from_vector(std::vector<std::uint8_t>{1, 1, 0, 0}, {1, 4});
    backward(sum(model(from_vector(std::vector<index_t>{1, 2, 0, 0}, {1, 4}), mask)));
    for (const auto& p : model.parameters())
      for (double g : p.value.grad().to_vector()) REQUIRE(std::isfinite(g));
  }
}

TEST_CASE("the padding row of the embedding starts at zero and gets no gradient") {
  SequenceOptions o = small("flare");
  o.padding = 0;
  models::Lra<double> model(o);
  const Tensor<double> table = model.parameter("token_emb.token_embed.weight");
  CHECK(max(abs(slice(table, 0, 0, 1))).item() == 0);
  backward(sum(model(from_vector(std::vector<index_t>{1, 0, 2, 0}, {1, 4}))));
  CHECK(max(abs(slice(table.grad(), 0, 0, 1))).item() == 0);
  CHECK(max(abs(slice(table.grad(), 0, 2, 3))).item() > 0);
  o.padding = 9;  // beyond the vocabulary
  CHECK(models::Lra<double>(o).parameter("token_emb.token_embed.weight").size(0) == 10);
}

TEST_CASE("the recursive model: steps one by one are inference, and y_init learns from the first") {
  manual_seed(8);
  SequenceOptions o = small("transformer");
  o.answer = Answer::token;
  const models::Trm<double> model(o, {.steps = 3, .inner = 2, .recursions = 2});
  const auto ids = tokens_of(2, 8);
  auto state = model.start(ids);
  Tensor<double> logits;
  for (int i = 0; i < 3; ++i) {
    logits = model.supervise(ids, {}, state);
    CHECK(!state.y.requires_grad());
    const auto y_init = model.parameter("y_init");
    model.parameter("y_init").zero_grad();
    backward(sum(square(logits)));
    const double g = max(abs(y_init.grad())).item();
    if (i > 0) CHECK(g == 0);
  }
  CHECK(worst(logits, model(ids)) == 0);
  CHECK(model.halting(state).shape() == Shape{2, 1});
  const models::Trm<double> single(o, {.steps = 1, .inner = 1, .recursions = 1});
  backward(sum(square(single(ids))));
  CHECK(max(abs(single.parameter("y_init").grad())).item() > 0);
  CHECK(max(abs(single.parameter("z_init").grad())).item() > 0);
}

TEST_CASE("bf16 activations and recomputed blocks") {
  manual_seed(9);
  SequenceOptions o = small("flare");
  o.channels = 32, o.heads = 4, o.proj_drop = 0.1;
  models::Lra<float> model(o);
  const auto ids = tokens_of(3, 8);
  const auto labels = from_vector(std::vector<index_t>{0, 1, 2});
  const auto gradients = [&] {
    random_state() = {1, 2, 3};
    model.zero_grad();
    backward(cross_entropy(model(ids), labels));
    std::vector<float> all;
    for (const auto& p : model.parameters())
      for (float g : p.value.grad().to_vector()) all.push_back(g);
    return all;
  };
  model.arena();
  const auto plain = gradients();
  model.recompute_blocks(true);
  CHECK(gradients() == plain);
  model.eval();
  const auto exact = model(ids).to_vector();
  model.activate_in_bf16(true);
  const auto rounded = model(ids).to_vector();
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < exact.size(); ++i) {
    difference += std::pow(double(exact[i]) - double(rounded[i]), 2);
    norm += std::pow(double(exact[i]), 2);
  }
  CHECK(difference > 0);
  CHECK(std::sqrt(difference / norm) < 0.05);
}

// Nothing but the result is rounded, and the gradient once on either side of the mean's factor; more
// tokens than bf16 can count.
TEST_CASE("pooling bf16 tokens is pooling in float, rounded") {
  manual_seed(11);
  constexpr index_t n = 601;
  const auto tokens = randn({2, n, 8}).to<bf16>();
  std::vector<std::uint8_t> kept(2 * n, 1);
  std::fill(kept.begin() + 257, kept.begin() + n, 0);
  const double half_ulp = 1.0 / 256;
  for (const Pooling pool : {Pooling::mean, Pooling::max, Pooling::cls})
    for (const bool masked : {false, true}) {
      CAPTURE(static_cast<int>(pool));
      CAPTURE(masked);
      const auto keep = masked ? from_vector(kept, {2, n}) : Tensor<std::uint8_t>{};
      const auto narrow = tokens.clone().requires_grad(true);
      const auto wide = tokens.to<float>().requires_grad(true);
      const auto rounded = models::pool_tokens<float>(narrow, pool, keep);
      const auto exact = models::pool_tokens<float>(wide, pool, keep);
      const auto within = [](const std::vector<float>& a, const std::vector<float>& b, double error) {
        REQUIRE(a.size() == b.size());
        for (std::size_t i = 0; i < b.size(); ++i)
          REQUIRE(std::abs(a[i] - b[i]) <= error * std::abs(b[i]));
      };
      within(rounded.to_vector(), exact.to_vector(), pool == Pooling::mean ? 1.001 * half_ulp : 0);
      const auto seed = randn({2, 8});
      backward(rounded, seed);
      backward(exact, seed);
      within(narrow.grad().to<float>().to_vector(), wide.grad().to_vector(), 2.01 * half_ulp);
    }
}

TEST_CASE("what makes no model is refused") {
  SequenceOptions o = small("flair");
  CHECK_THROWS_WITH_AS(models::Lra<float>{o}, doctest::Contains("expected one of transformer, flare"),
                       Error);
  o = small("triple"), o.positions = Positions::rotary;
  CHECK_THROWS_WITH_AS(models::Lra<float>{o}, doctest::Contains("learned or sinusoid"), Error);
  o = small("flare"), o.answer = Answer::token, o.pool = Pooling::cls;
  CHECK_THROWS_AS(models::Lra<float>{o}, Error);
  const models::Lra<float> model(small("flare"));
  CHECK_THROWS_WITH_AS(model(tokens_of(1, 9)), doctest::Contains("at most 8"), Error);
  CHECK_THROWS_AS(model(tokens_of(1, 4), ones<std::uint8_t>({1, 5})), Error);
}
