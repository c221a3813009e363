// Attention written down plainly, in double, with every matrix in memory: what the kernels are
// checked against.
#pragma once

#include "cpu_table_values.hpp"

namespace attention_test {

using namespace table_test;

/// Which axes an operand repeats over.
struct Shared {
  bool batch = false, head = false;
};

struct Case {
  index_t B = 1, H = 1, Nq = 1, Nk = 1, D = 1, Dv = 1;
  double scale = 0.5;
  bool causal = false, keep = false, tokens = true;
  Shared q{}, k{}, v{};
  bool bias = false;
  bool bias_axes[4] = {true, true, true, true};  ///< false: the bias repeats over this axis
  GradMode mode = GradMode::overwrite;
  double spread = 1;  ///< of q and k
};

/// Where an operand with `rows` rows of `width` channels lies: [B,N,H·D] with a gap after each row,
/// or [B,H,N,D].
struct Place {
  HeadStrides s;
  index_t size = 0;
  Place(const Case& c, index_t rows, index_t width, Shared shared) {
    const index_t heads = shared.head ? 1 : c.H, batches = shared.batch ? 1 : c.B;
    s.row = c.tokens ? heads * width + 3 : width;
    s.head = shared.head ? 0 : c.tokens ? width : rows * width;
    const index_t batch = c.tokens ? rows * s.row : heads * rows * width;
    s.batch = shared.batch ? 0 : batch;
    size = batches * batch;
  }
  std::size_t at(index_t b, index_t h, index_t i, index_t d) const {
    return static_cast<std::size_t>(b * s.batch + h * s.head + i * s.row + d);
  }
};

/// Everything a call reads and writes.
template <class T>
struct Buffers {
  Case c;
  Place qp, kp, vp, op;
  HeadStrides bias_s;
  index_t bias_col = 0;
  std::vector<T> q, k, v, bias, o, lse, dout, dq, dk, dv, dbias;
  std::vector<std::uint8_t> keep;

  explicit Buffers(const Case& c_)
      : c(c_),
        qp(c, c.Nq, c.D, c.q),
        kp(c, c.Nk, c.D, c.k),
        vp(c, c.Nk, c.Dv, c.v),
        op(c, c.Nq, c.Dv, {}) {
    q = values<T>(qp.size, 1), k = values<T>(kp.size, 2), v = values<T>(vp.size, 3);
    for (T& x : q) x *= static_cast<T>(c.spread);
    for (T& x : k) x *= static_cast<T>(c.spread);
    o = values<T>(op.size, 4), dout = values<T>(op.size, 5);
    lse = values<T>(c.B * c.H * c.Nq, 6);
    dq = values<T>(qp.size, 7), dk = values<T>(kp.size, 8), dv = values<T>(vp.size, 9);
    if (c.bias) {
      const index_t extent[4] = {c.B, c.H, c.Nq, c.Nk};
      index_t stride[4], size = 1;
      for (int a = 3; a >= 0; --a) {
        stride[a] = c.bias_axes[a] ? size : 0;
        if (c.bias_axes[a]) size *= extent[a];
      }
      bias_s = {stride[0], stride[1], stride[2]}, bias_col = stride[3];
      bias = values<T>(size, 10), dbias = values<T>(size, 11);
    }
    if (c.keep)
      for (const index_t x : indices(c.B * c.Nk, 4, 12)) keep.push_back(x != 0);
  }

  SdpaParams<T> forward() {
    SdpaParams<T> p;
    p.B = c.B, p.H = c.H, p.Nq = c.Nq, p.Nk = c.Nk, p.D = c.D, p.Dv = c.Dv;
    p.scale = static_cast<T>(c.scale), p.causal = c.causal;
    p.q = q.data(), p.k = k.data(), p.v = v.data(), p.o = o.data(), p.lse = lse.data();
    p.qs = qp.s, p.ks = kp.s, p.vs = vp.s, p.os = op.s;
    if (c.keep) p.keep = keep.data(), p.keep_batch = c.Nk;
    if (c.bias) p.bias = bias.data(), p.bias_s = bias_s, p.bias_col = bias_col;
    return p;
  }
  SdpaBackwardParams<T> backward() {
    SdpaBackwardParams<T> p;
    p.f = forward();
    p.dout = dout.data(), p.dos = op.s;
    p.dq = dq.data(), p.dk = dk.data(), p.dv = dv.data();
    p.dqs = qp.s, p.dks = kp.s, p.dvs = vp.s;
    p.dq_mode = p.dk_mode = p.dv_mode = c.mode;
    if (c.bias) p.dbias = dbias.data(), p.dbias_mode = c.mode;
    return p;
  }
};

/// A result by definition: places that belong to it hold sums, all others what was there. `size` is
/// the sum of the terms' magnitudes, which rounding errors are measured against.
template <class T>
struct Expected {
  std::vector<double> x, size;
  std::vector<bool> mine;
  bool accumulate;
  Expected(const std::vector<T>& before, GradMode mode)
      : size(before.size()), mine(before.size()), accumulate(mode == GradMode::accumulate) {
    for (const T v : before) x.push_back(value(v));
  }
  void add(std::size_t at, double amount, double magnitude = 0) {
    if (!mine[at] && !accumulate) x[at] = 0;
    if (!mine[at] && accumulate) size[at] = std::abs(x[at]);
    mine[at] = true;
    x[at] += amount;
    size[at] += magnitude;
  }
};

template <class T>
struct Answer {
  Expected<T> o, lse, dq, dk, dv, dbias;
  /// Of a score (its terms' magnitudes) plus that of its log-sum-exp: exponentials turn the
  /// rounding of these into relative error.
  double largest = 0;
};

/// Forward and backward of `f`, whose output and gradient buffers are as they were before the call.
template <class T>
Answer<T> reference(const Buffers<T>& f) {
  const Case& c = f.c;
  const auto start = [&](const std::vector<T>& before) { return Expected<T>(before, c.mode); };
  Answer<T> a{{f.o, GradMode::overwrite},
              {f.lse, GradMode::overwrite},
              start(f.dq),
              start(f.dk),
              start(f.dv),
              start(f.dbias)};
  for (std::size_t i = 0; i < f.dbias.size(); ++i) a.dbias.add(i, 0);
  std::vector<double> p(static_cast<std::size_t>(c.Nk));
  for (index_t b = 0; b < c.B; ++b)
    for (index_t h = 0; h < c.H; ++h) {
      for (index_t j = 0; j < c.Nk; ++j) {  // a key that nobody sees has a gradient of zero
        for (index_t d = 0; d < c.D; ++d) a.dk.add(f.kp.at(b, h, j, d), 0);
        for (index_t d = 0; d < c.Dv; ++d) a.dv.add(f.vp.at(b, h, j, d), 0);
      }
      for (index_t i = 0; i < c.Nq; ++i) {
        const auto bias_at = [&](index_t j) {
          return static_cast<std::size_t>(b * f.bias_s.batch + h * f.bias_s.head +
                                          i * f.bias_s.row + j * f.bias_col);
        };
        double top = -INFINITY, sum = 0, largest = 0;
        for (index_t j = 0; j < c.Nk; ++j) {
          double s = 0, size = 0;
          for (index_t d = 0; d < c.D; ++d) {
            const double term = value(f.q[f.qp.at(b, h, i, d)]) * value(f.k[f.kp.at(b, h, j, d)]);
            s += term, size += std::abs(term);
          }
          const double added = c.bias ? value(f.bias[bias_at(j)]) : 0;
          s = s * static_cast<T>(c.scale) + added;
          largest = std::fmax(largest, size * c.scale + std::abs(added));
          if (c.keep && !f.keep[static_cast<std::size_t>(b * c.Nk + j)]) s = -INFINITY;
          if (c.causal && j > i + c.Nk - c.Nq) s = -INFINITY;
          p[static_cast<std::size_t>(j)] = s;
          top = std::fmax(top, s);
        }
        for (double& s : p) sum += s = top == -INFINITY ? 0 : std::exp(s - top);
        for (double& s : p) s = sum > 0 ? s / sum : 0;
        if (sum > 0) a.largest = std::fmax(a.largest, largest + std::abs(top + std::log(sum)));
        a.lse.add(static_cast<std::size_t>((b * c.H + h) * c.Nq + i), top + std::log(sum),
                  1 + std::abs(top));
        double delta = 0, delta_size = 0;
        for (index_t d = 0; d < c.Dv; ++d) {
          double yd = 0, size = 0;
          for (index_t j = 0; j < c.Nk; ++j) {
            const double term = p[static_cast<std::size_t>(j)] * value(f.v[f.vp.at(b, h, j, d)]);
            yd += term, size += std::abs(term);
          }
          a.o.add(f.op.at(b, h, i, d), yd, size);
          const double dy = value(f.dout[f.op.at(b, h, i, d)]);
          delta += yd * dy, delta_size += size * std::abs(dy);
        }
        for (index_t d = 0; d < c.D; ++d) a.dq.add(f.qp.at(b, h, i, d), 0);
        for (index_t j = 0; j < c.Nk; ++j) {
          const double w = p[static_cast<std::size_t>(j)];
          double slope = 0, size = delta_size;
          for (index_t d = 0; d < c.Dv; ++d) {
            const double dy = value(f.dout[f.op.at(b, h, i, d)]);
            const double term = dy * value(f.v[f.vp.at(b, h, j, d)]);
            slope += term, size += std::abs(term);
            a.dv.add(f.vp.at(b, h, j, d), w * dy, std::abs(w * dy));
          }
          slope = w * (slope - delta), size *= w;
          const auto add = [&](Expected<T>& to, std::size_t at, double x) {
            to.add(at, slope * x, size * std::abs(x));
          };
          for (index_t d = 0; d < c.D; ++d) {
            add(a.dq, f.qp.at(b, h, i, d), c.scale * value(f.k[f.kp.at(b, h, j, d)]));
            add(a.dk, f.kp.at(b, h, j, d), c.scale * value(f.q[f.qp.at(b, h, i, d)]));
          }
          if (c.bias) add(a.dbias, bias_at(j), 1);
        }
      }
    }
  return a;
}

}  // namespace attention_test
