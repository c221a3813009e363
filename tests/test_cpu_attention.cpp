// Attention of the CPU table against its definition in double.
#include <string>

#include "attention_reference.hpp"

using namespace attention_test;

namespace {

/// Values that belong to a result are right but for `tolerance` times the magnitude of their terms;
/// all others are untouched.
template <class T>
void check_result(const char* name, const std::vector<T>& got, const std::vector<T>& before,
                  const Expected<T>& want, double tolerance) {
  INFO(name);
  double error = 0;
  index_t wrong = 0, touched = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (!want.mine[i])
      touched += std::memcmp(&got[i], &before[i], sizeof(T)) != 0;
    else if (!std::isfinite(want.x[i]) || !std::isfinite(value(got[i])))
      wrong += value(got[i]) != want.x[i];
    else
      error = std::fmax(error, std::abs(value(got[i]) - want.x[i]) / (want.size[i] + 1e-30));
  }

  CHECK(wrong == 0);
  CHECK(touched == 0);
  CHECK(error <= tolerance);
}

/// Runs forward and backward on one thread and on three, compares both with the definition.
template <class T>
void check_case(const Case& c) {
  const std::string text = fmt::format(
      "B={} H={} Nq={} Nk={} D={} Dv={} causal={} keep={} tokens={} bias={} shared q={}{} k={}{} "
      "v={}{}",
      c.B, c.H, c.Nq, c.Nk, c.D, c.Dv, c.causal, c.keep, c.tokens, c.bias, c.q.batch, c.q.head,
      c.k.batch, c.k.head, c.v.batch, c.v.head);
  CAPTURE(text);
  const Buffers<T> before(c);
  const Answer<T> want = reference(before);
  const auto run = [&](int threads) {
    Buffers<T> f(c);
    set_num_threads(threads);
    cpu_backend<T>().sdpa(f.forward());
    cpu_backend<T>().sdpa_backward(f.backward());
    set_num_threads(0);
    return f;
  };
  const Buffers<T> got = run(1), three = run(3);
  CHECK(same_bits(got.o, three.o));
  CHECK(same_bits(got.lse, three.lse));
  CHECK(same_bits(got.dq, three.dq));
  CHECK(same_bits(got.dk, three.dk));
  CHECK(same_bits(got.dv, three.dv));
  CHECK(same_bits(got.dbias, three.dbias));

  const double tolerance = (8 + 4 * want.largest) * unit<T>;
  check_result("o", got.o, before.o, want.o, tolerance);
  check_result("lse", got.lse, before.lse, want.lse, tolerance);
  check_result("dq", got.dq, before.dq, want.dq, tolerance);
  check_result("dk", got.dk, before.dk, want.dk, tolerance);
  check_result("dv", got.dv, before.dv, want.dv, tolerance);
  check_result("dbias", got.dbias, before.dbias, want.dbias, tolerance);
}

TEST_CASE_TEMPLATE("attention of any size", T, float, double) {
  const index_t sizes[] = {1, 31, 33, 1025}, depths[] = {1, 2, 3, 8, 16, 33, 64, 128};
  int turn = 0;
  for (const index_t Nq : sizes)
    for (const index_t Nk : sizes)
      for (int repeat = 0; repeat < 4; ++repeat, ++turn) {
        const bool large = Nq * Nk > 100000;
        if (large && repeat > 1) continue;
        Case c;
        c.Nq = Nq, c.Nk = Nk;
        c.D = depths[turn % (large ? 4 : 8)], c.Dv = depths[turn * 3 % (large ? 5 : 8)];
        c.H = large ? 1 : 2;
        c.tokens = turn % 2 == 0;
        c.scale = 1 / std::sqrt(double(c.D));
        check_case<T>(c);
      }
}

TEST_CASE_TEMPLATE("attention hides keys", T, float, double) {
  for (const auto& [Nq, Nk] : {std::pair<index_t, index_t>{37, 37},
                               {5, 300},
                               {300, 5},
                               {130, 131},
                               {700, 40},
                               {40, 1400},
                               {1, 9},
                               {260, 255}})
    for (const bool keep : {false, true})
      for (const bool causal : {false, true}) {
        Case c;
        c.B = 2, c.H = 3, c.Nq = Nq, c.Nk = Nk, c.D = 8, c.Dv = 5;
        c.keep = keep, c.causal = causal;
        check_case<T>(c);
      }
}

TEST_CASE_TEMPLATE("attention with one operand for all batches or heads", T, float, double) {
  for (const auto& [Nq, Nk] :
       {std::pair<index_t, index_t>{12, 600}, {600, 12}, {50, 50}})  // gather, scatter, both
    for (int mask = 0; mask < 64; mask += 3) {
      Case c;
      c.B = 3, c.H = 2, c.Nq = Nq, c.Nk = Nk, c.D = 4, c.Dv = 8;
      c.q = {bool(mask & 1), bool(mask & 2)};
      c.k = {bool(mask & 4), bool(mask & 8)};
      c.v = {bool(mask & 16), bool(mask & 32)};
      c.tokens = mask % 2 == 0;
      c.mode = mask % 4 < 2 ? GradMode::overwrite : GradMode::accumulate;
      check_case<T>(c);
    }
}

TEST_CASE_TEMPLATE("attention adds biases that repeat over any axes", T, float, double) {
  for (int axes = 0; axes < 16; ++axes) {
    Case c;
    c.B = 2, c.H = 2, c.Nq = axes % 3 ? 70 : 21, c.Nk = axes % 2 ? 33 : 140, c.D = 4, c.Dv = 4;
    c.bias = true;
    for (int a = 0; a < 4; ++a) c.bias_axes[a] = axes >> a & 1;
    c.causal = axes % 5 == 0, c.keep = axes % 4 == 3;
    c.mode = axes % 2 ? GradMode::overwrite : GradMode::accumulate;
    check_case<T>(c);
  }
}

TEST_CASE_TEMPLATE("attention over many chunks of keys and queries", T, float, double) {
  Case gather;
  gather.H = 2, gather.Nq = 7, gather.Nk = 9001, gather.D = 8, gather.Dv = 8, gather.q.batch = true;
  gather.B = 2;
  check_case<T>(gather);
  Case scatter = gather;
  scatter.Nq = 9001, scatter.Nk = 7, scatter.q.batch = false, scatter.k.batch = true;
  check_case<T>(scatter);
  Case both;  // parts of dq larger than the memory for them: several waves of queries
  both.H = 1, both.Nq = 1100, both.Nk = 1100, both.D = 2, both.Dv = 3, both.causal = true;
  both.mode = GradMode::accumulate;
  check_case<T>(both);
  Case waves = both;
  waves.B = 3, waves.Nq = 1400, waves.Nk = 500, waves.D = 129, waves.Dv = 1;
  waves.mode = GradMode::overwrite;
  check_case<T>(waves);
}

TEST_CASE_TEMPLATE("attention with large scores keeps its digits", T, float, double) {
  Case c;
  c.H = 2, c.Nq = 65, c.Nk = 200, c.D = 8, c.Dv = 8, c.spread = 2, c.scale = 1;
  check_case<T>(c);
}

TEST_CASE("a query that sees no key gives zeros, and no gradient is NaN") {
  Case c;
  c.B = 2, c.Nq = 20, c.Nk = 9, c.D = 4, c.Dv = 4, c.causal = true, c.keep = true;
  Buffers<float> f(c);
  std::fill(f.keep.begin(), f.keep.begin() + c.Nk, std::uint8_t{0});  // batch 0 sees nothing at all
  cpu_backend<float>().sdpa(f.forward());
  cpu_backend<float>().sdpa_backward(f.backward());
  for (index_t i = 0; i < c.Nq; ++i) {
    CHECK(f.lse[static_cast<std::size_t>(i)] == -INFINITY);
    for (index_t d = 0; d < c.Dv; ++d) {
      CHECK(f.o[f.op.at(0, 0, i, d)] == 0);
      CHECK(f.dq[f.qp.at(0, 0, i, d)] == 0);
    }
  }
  for (index_t j = 0; j < c.Nk; ++j) CHECK(f.dk[f.kp.at(0, 0, j, 0)] == 0);
  for (const auto* x : {&f.o, &f.dq, &f.dk, &f.dv})
    for (const float v : *x) CHECK(std::isfinite(v));
}

TEST_CASE("attention without keys, without queries, without batches") {
  const index_t sizes[][3] = {{1, 4, 0}, {1, 0, 4}, {0, 4, 4}, {1, 0, 0}};
  for (const auto& [B, Nq, Nk] : sizes) {
    Case c;
    c.B = B, c.Nq = Nq, c.Nk = Nk, c.D = 4, c.Dv = 4, c.bias = true;
    c.bias_axes[2] = c.bias_axes[3] = false;
    check_case<float>(c);
  }
}

TEST_CASE("gradients that are not wanted are left alone") {
  Case c;
  c.H = 2, c.Nq = 40, c.Nk = 50, c.D = 8, c.Dv = 8;
  const Answer<float> want = reference(Buffers<float>(c));
  for (int wanted = 0; wanted < 8; ++wanted) {
    Buffers<float> f(c);
    const Buffers<float> before(c);
    cpu_backend<float>().sdpa(f.forward());
    SdpaBackwardParams<float> p = f.backward();
    const auto choose = [&](int bit, float*& x, GradMode& mode) {
      if (wanted & bit) return;
      x = nullptr, mode = GradMode::ignore;
    };
    choose(1, p.dq, p.dq_mode), choose(2, p.dk, p.dk_mode), choose(4, p.dv, p.dv_mode);
    cpu_backend<float>().sdpa_backward(p);
    const double tolerance = 40 * unit<float>;
    if (wanted & 1) check_result("dq", f.dq, before.dq, want.dq, tolerance);
    if (wanted & 2) check_result("dk", f.dk, before.dk, want.dk, tolerance);
    if (wanted & 4) check_result("dv", f.dv, before.dv, want.dv, tolerance);
    if (!(wanted & 1)) CHECK(same_bits(f.dq, before.dq));
    if (!(wanted & 2)) CHECK(same_bits(f.dk, before.dk));
    if (!(wanted & 4)) CHECK(same_bits(f.dv, before.dv));
  }
}

TEST_CASE("a NaN among the operands is seen in the output") {
  Case c;
  c.Nq = 20, c.Nk = 30, c.D = 4, c.Dv = 4;
  Buffers<float> f(c);
  f.k[f.kp.at(0, 0, 17, 2)] = NAN;
  cpu_backend<float>().sdpa(f.forward());
  for (index_t i = 0; i < c.Nq; ++i) CHECK(std::isnan(f.o[f.op.at(0, 0, i, 0)]));
}

}  // namespace
