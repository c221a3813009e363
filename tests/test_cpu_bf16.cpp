// bf16 products, dense layers, norms and attention: what the float table gives on the widened
// inputs, rounded once. The float table has tests of its own.
#include "cpu_table_values.hpp"

using namespace table_test;

namespace {

const Backend<bf16>& narrow() {
  return cpu_backend<bf16>();
}
const Backend<float>& wide() {
  return cpu_backend<float>();
}

/// A bf16 array and its float copy, which both tables work on.
struct Pair {
  std::vector<bf16> b;
  std::vector<float> f;

  Pair(index_t n, unsigned seed) : b(values<bf16>(n, seed)) { f.assign(b.begin(), b.end()); }
};

/// Half a unit in the last place of every element, or of `others` of them where float results
/// differ in rounding; accumulated results are rounded after the sum.
void check_rounded(const std::vector<bf16>& got, const std::vector<float>& expected) {
  REQUIRE(got.size() == expected.size());
  index_t wrong = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const float x = got[i], y = expected[i];
    wrong += !(std::abs(x - y) <= std::abs(y) * 0x1.01p-8f + 1e-6f);
  }
  CHECK(wrong == 0);
}

TEST_CASE("gemm of bf16: strides, transposes, batches, beta") {
  const index_t m = 19, n = 23, k = 37;
  for (const bool ta : {false, true})
    for (const bool tb : {false, true})
      for (const float beta : {0.0f, 0.5f}) {
        Pair a(6 * 40 * 40, 1), b(2 * 40 * 40, 2), c(6 * 30 * 30, 3);
        const auto run = [&]<class T>(const Backend<T>& table, const T* pa, const T* pb, T* pc) {
          GemmParams<T> p;
          p.m = m, p.n = n, p.k = k;
          p.batch[0] = 2, p.batch[1] = 3;
          p.a = pa, p.b = pb, p.c = pc;
          p.lda = p.ldb = 40, p.ldc = 30;
          p.trans_a = ta, p.trans_b = tb;
          p.batch_a[0] = 4800, p.batch_a[1] = 1600;
          p.batch_b[0] = 1600, p.batch_b[1] = 0;  // shared by the inner batch
          p.batch_c[0] = 2700, p.batch_c[1] = 900;
          p.alpha = 0.25f, p.beta = beta;
          table.gemm(p);
        };
        run(narrow(), a.b.data(), b.b.data(), c.b.data());
        run(wide(), a.f.data(), b.f.data(), c.f.data());
        check_rounded(c.b, c.f);
      }
}

TEST_CASE("linear of bf16, forward and backward") {
  const index_t rows = 45, in = 17, out = 29;
  for (const bool bias : {false, true}) {
    Pair x(rows * in, 1), w(out * in, 2), b(out, 3), y(rows * out, 4), pre(rows * out, 5);
    narrow().linear({rows, in, out, x.b.data(), w.b.data(), bias ? b.b.data() : nullptr,
                     Activation::silu, y.b.data(), pre.b.data()});
    wide().linear({rows, in, out, x.f.data(), w.f.data(), bias ? b.f.data() : nullptr,
                   Activation::silu, y.f.data(), pre.f.data()});
    check_rounded(y.b, y.f);
    check_rounded(pre.b, pre.f);
  }
  for (const GradMode mode : {GradMode::ignore, GradMode::overwrite, GradMode::accumulate}) {
    Pair x(rows * in, 1), w(out * in, 2), pre(rows * out, 5), dy(rows * out, 6), dx(rows * in, 7);
    auto dw = values<float>(out * in, 8), db = values<float>(out, 9), dw_wide = dw, db_wide = db;
    narrow().linear_backward({rows, in, out, x.b.data(), w.b.data(), pre.b.data(), dy.b.data(),
                              Activation::gelu, dx.b.data(), dw.data(), db.data(), mode,
                              GradMode::accumulate, GradMode::overwrite});
    wide().linear_backward({rows, in, out, x.f.data(), w.f.data(), pre.f.data(), dy.f.data(),
                            Activation::gelu, dx.f.data(), dw_wide.data(), db_wide.data(), mode,
                            GradMode::accumulate, GradMode::overwrite});
    check_rounded(dx.b, dx.f);
    CHECK(same_bits(dw, dw_wide));
    CHECK(same_bits(db, db_wide));
  }
}

TEST_CASE("residual MLP of bf16, forward and backward") {
  const index_t rows = 40, in = 12, hid = 24, out = 24;
  const int layers = 2;
  Pair x(rows * in, 1), y(rows * out, 2), pre((layers + 1) * rows * hid, 3), dy(rows * out, 4);
  Pair dx(rows * in, 5);
  std::vector<Pair> w, b;
  std::vector<std::vector<float>> dw, db, dw_wide, db_wide;
  for (int l = 0; l <= layers + 1; ++l) {
    w.emplace_back((l == 0 ? in : hid) * (l <= layers ? hid : out), 10 + l);
    b.emplace_back(l <= layers ? hid : out, 20 + l);
    for (float& v : w.back().f) v *= 0.125f;
    for (bf16& v : w.back().b) v = bf16(0.125f * v);
    dw.emplace_back(w.back().f.size()), db.emplace_back(b.back().f.size());
  }
  dw_wide = dw, db_wide = db;
  const auto sizes = [&](auto& p) {
    p.rows = rows, p.in = in, p.hid = hid, p.out = out, p.layers = layers;
    p.residual_in = false, p.residual_out = true;
  };
  ResidualMlpParams<bf16> p;
  ResidualMlpParams<float> q;
  sizes(p), sizes(q);
  p.x = x.b.data(), p.y = y.b.data(), p.pre = pre.b.data();
  q.x = x.f.data(), q.y = y.f.data(), q.pre = pre.f.data();
  ResidualMlpBackwardParams<bf16> pb;
  ResidualMlpBackwardParams<float> qb;
  sizes(pb), sizes(qb);
  for (std::size_t l = 0; l < w.size(); ++l) {
    p.w[l] = pb.w[l] = w[l].b.data(), p.b[l] = b[l].b.data();
    q.w[l] = qb.w[l] = w[l].f.data(), q.b[l] = b[l].f.data();
    pb.dw[l] = dw[l].data(), pb.db[l] = db[l].data();
    qb.dw[l] = dw_wide[l].data(), qb.db[l] = db_wide[l].data();
    pb.dw_mode[l] = qb.dw_mode[l] = pb.db_mode[l] = qb.db_mode[l] = GradMode::overwrite;
  }
  std::string why, why_wide;
  const bool supported = narrow().supports_residual_mlp(p, &why);
  CHECK(supported == wide().supports_residual_mlp(q, &why_wide));
  CHECK(why == why_wide);
  REQUIRE(supported);
  narrow().residual_mlp(p);
  wide().residual_mlp(q);
  check_rounded(y.b, y.f);
  check_rounded(pre.b, pre.f);
  pre.f.assign(pre.b.begin(), pre.b.end());
  pb.x = x.b.data(), pb.pre = pre.b.data(), pb.dy = dy.b.data(), pb.dx = dx.b.data();
  qb.x = x.f.data(), qb.pre = pre.f.data(), qb.dy = dy.f.data(), qb.dx = dx.f.data();
  pb.dx_mode = qb.dx_mode = GradMode::accumulate;
  narrow().residual_mlp_backward(pb);
  wide().residual_mlp_backward(qb);
  check_rounded(dx.b, dx.f);
  for (std::size_t l = 0; l < w.size(); ++l) {
    CHECK(same_bits(dw[l], dw_wide[l]));
    CHECK(same_bits(db[l], db_wide[l]));
  }
}

TEST_CASE("norms of bf16, forward and backward") {
  const index_t rows = 33, cols = 50;
  for (const bool rms : {false, true}) {
    Pair x(rows * cols, 1), y(rows * cols, 2), dy(rows * cols, 3), dx(rows * cols, 4);
    const auto w = values<float>(cols, 5), b = values<float>(cols, 6);
    std::vector<float> mean(rows), rstd(rows), mean_wide(rows), rstd_wide(rows);
    narrow().norm({rows, cols, rms, 1e-5f, x.b.data(), w.data(), rms ? nullptr : b.data(),
                   y.b.data(), mean.data(), rstd.data()});
    wide().norm({rows, cols, rms, 1e-5f, x.f.data(), w.data(), rms ? nullptr : b.data(), y.f.data(),
                 mean_wide.data(), rstd_wide.data()});
    check_rounded(y.b, y.f);
    CHECK(same_bits(rstd, rstd_wide));
    CHECK(same_bits(mean, mean_wide));
    std::vector<float> dw(cols), db(cols), dw_wide(cols), db_wide(cols);
    narrow().norm_backward({rows, cols, rms, x.b.data(), dy.b.data(), w.data(), mean.data(),
                            rstd.data(), dx.b.data(), dw.data(), db.data(), GradMode::accumulate,
                            GradMode::overwrite, rms ? GradMode::ignore : GradMode::overwrite});
    wide().norm_backward({rows, cols, rms, x.f.data(), dy.f.data(), w.data(), mean.data(),
                          rstd.data(), dx.f.data(), dw_wide.data(), db_wide.data(),
                          GradMode::accumulate, GradMode::overwrite,
                          rms ? GradMode::ignore : GradMode::overwrite});
    check_rounded(dx.b, dx.f);
    CHECK(same_bits(dw, dw_wide));
    CHECK(same_bits(db, db_wide));
  }
}

TEST_CASE("attention of bf16: heads as views, broadcast queries, a bias of one row") {
  const index_t B = 2, H = 3, Nq = 21, Nk = 34, D = 8;
  const HeadStrides shared{0, Nq * D, D}, heads{Nk * H * D, D, H * D}, output{Nq * H * D, D, H * D};
  Pair q(H * Nq * D, 1), k(B * Nk * H * D, 2), v(B * Nk * H * D, 3), o(B * Nq * H * D, 4);
  Pair bias(Nk, 5), dout(B * Nq * H * D, 6), dq(H * Nq * D, 7), dk(B * Nk * H * D, 8);
  Pair dv(B * Nk * H * D, 9), dbias(Nk, 10);
  std::vector<float> lse(B * H * Nq), lse_wide(B * H * Nq);
  const auto forward = [&](auto& p) {
    p.B = B, p.H = H, p.Nq = Nq, p.Nk = Nk, p.D = p.Dv = D;
    p.qs = shared, p.ks = p.vs = heads, p.os = output;
    p.bias_s = {0, 0, 0}, p.bias_col = 1;
  };
  SdpaParams<bf16> p;
  SdpaParams<float> w;
  forward(p), forward(w);
  p.q = q.b.data(), p.k = k.b.data(), p.v = v.b.data(), p.o = o.b.data();
  w.q = q.f.data(), w.k = k.f.data(), w.v = v.f.data(), w.o = o.f.data();
  p.bias = bias.b.data(), w.bias = bias.f.data();
  p.lse = lse.data(), w.lse = lse_wide.data();
  narrow().sdpa(p);
  wide().sdpa(w);
  check_rounded(o.b, o.f);
  check_close(lse, std::vector<double>(lse_wide.begin(), lse_wide.end()), 4 * unit<float>);

  o.f.assign(o.b.begin(), o.b.end());
  const auto backward = [&](auto& g) {
    g.dos = output, g.dqs = shared, g.dks = g.dvs = heads;
    g.dq_mode = g.dbias_mode = GradMode::accumulate;
    g.dk_mode = g.dv_mode = GradMode::overwrite;
  };
  SdpaBackwardParams<bf16> pb;
  SdpaBackwardParams<float> wb;
  pb.f = p, wb.f = w;
  wb.f.lse = lse.data();
  backward(pb), backward(wb);
  pb.dout = dout.b.data(), wb.dout = dout.f.data();
  pb.dq = dq.b.data(), pb.dk = dk.b.data(), pb.dv = dv.b.data(), pb.dbias = dbias.b.data();
  wb.dq = dq.f.data(), wb.dk = dk.f.data(), wb.dv = dv.f.data(), wb.dbias = dbias.f.data();
  narrow().sdpa_backward(pb);
  wide().sdpa_backward(wb);
  check_rounded(dq.b, dq.f);
  check_rounded(dk.b, dk.f);
  check_rounded(dv.b, dv.f);
  check_rounded(dbias.b, dbias.f);
}

}  // namespace
