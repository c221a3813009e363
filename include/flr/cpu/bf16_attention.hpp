// Attention on bf16 tensors: computed by the float kernels on widened copies.
#pragma once

#include "flr/cpu/attention.hpp"
#include "flr/cpu/widen.hpp"

FLR_CPU_BEGIN

/// The float copies behind one call of sdpa.
struct WidenedSdpa {
  Widened q, k, v, bias, o;
  SdpaParams<float> f;

  static Widened heads(const SdpaParams<bf16>& p, const bf16* x, index_t rows, index_t width,
                       const HeadStrides& s, bool read = true) {
    return {x, {p.B, p.H, rows, width}, {s.batch, s.head, s.row, 1}, read};
  }
  static HeadStrides strides(const Widened& x) { return {x.stride(0), x.stride(1), x.stride(2)}; }

  WidenedSdpa(const SdpaParams<bf16>& p, bool read_output)
      : q(heads(p, p.q, p.Nq, p.D, p.qs)),
        k(heads(p, p.k, p.Nk, p.D, p.ks)),
        v(heads(p, p.v, p.Nk, p.Dv, p.vs)),
        bias(p.bias, {p.B, p.H, p.Nq, p.Nk},
             {p.bias_s.batch, p.bias_s.head, p.bias_s.row, p.bias_col}),
        o(heads(p, p.o, p.Nq, p.Dv, p.os, read_output)) {
    f.B = p.B, f.H = p.H, f.Nq = p.Nq, f.Nk = p.Nk, f.D = p.D, f.Dv = p.Dv;
    f.scale = p.scale, f.causal = p.causal;
    f.q = q.data(), f.k = k.data(), f.v = v.data(), f.bias = bias.data(), f.o = o.data();
    f.qs = strides(q), f.ks = strides(k), f.vs = strides(v), f.os = strides(o);
    f.bias_s = strides(bias), f.bias_col = bias.stride(3);
    f.keep = p.keep, f.keep_batch = p.keep_batch, f.lse = p.lse;
  }
};

inline void sdpa(const SdpaParams<bf16>& p) {
  const WidenedSdpa w(p, false);
  sdpa(w.f);
  w.o.narrow(p.o);
}

inline void sdpa_backward(const SdpaBackwardParams<bf16>& p) {
  const WidenedSdpa w(p.f, true);
  const Widened dout = WidenedSdpa::heads(p.f, p.dout, p.f.Nq, p.f.Dv, p.dos);
  SdpaBackwardParams<float> g;
  g.f = w.f;
  g.dout = dout.data(), g.dos = WidenedSdpa::strides(dout);

  const auto gradient = [&](bf16* x, GradMode mode, index_t rows, index_t width,
                            const HeadStrides& s) {
    return WidenedSdpa::heads(p.f, mode == GradMode::ignore ? nullptr : x, rows, width, s, false);
  };
  const auto begin = [](GradMode mode) {
    return mode == GradMode::ignore ? GradMode::ignore : GradMode::overwrite;
  };
  const Widened dq = gradient(p.dq, p.dq_mode, p.f.Nq, p.f.D, p.dqs);
  const Widened dk = gradient(p.dk, p.dk_mode, p.f.Nk, p.f.D, p.dks);
  const Widened dv = gradient(p.dv, p.dv_mode, p.f.Nk, p.f.Dv, p.dvs);
  const Widened dbias(p.dbias_mode == GradMode::ignore ? nullptr : p.dbias,
                      {p.f.B, p.f.H, p.f.Nq, p.f.Nk},
                      {p.f.bias_s.batch, p.f.bias_s.head, p.f.bias_s.row, p.f.bias_col}, false);
  g.dq = dq.data(), g.dqs = WidenedSdpa::strides(dq), g.dq_mode = begin(p.dq_mode);
  g.dk = dk.data(), g.dks = WidenedSdpa::strides(dk), g.dk_mode = begin(p.dk_mode);
  g.dv = dv.data(), g.dvs = WidenedSdpa::strides(dv), g.dv_mode = begin(p.dv_mode);
  g.dbias = dbias.data(), g.dbias_mode = begin(p.dbias_mode);
  sdpa_backward(g);
  dq.narrow(p.dq, p.dq_mode == GradMode::accumulate);
  dk.narrow(p.dk, p.dk_mode == GradMode::accumulate);
  dv.narrow(p.dv, p.dv_mode == GradMode::accumulate);
  dbias.narrow(p.dbias, p.dbias_mode == GradMode::accumulate);
}

FLR_CPU_END
