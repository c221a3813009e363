// Calls of causal linear attention cut into segments.
#include <fmt/core.h>

#include "causal_linear/entries.hpp"
#include "causal_linear/problem.hpp"

namespace flr::cuda {
namespace {

using namespace causal;

template <class T>
Problem<T> problem_of(const CausalLinearParams<T>& f) {
  Problem<T> p;
  p.B = f.B, p.H = f.H, p.N = f.N, p.E = int(f.E), p.D = int(f.D);
  p.normalize = f.normalize, p.scale = f.scale, p.epsilon = f.epsilon, p.feature = f.feature;
  cut(p);
  p.q = {f.q, f.qs}, p.k = {f.k, f.ks}, p.v = {f.v, f.vs};
  p.q_packed = packs(f.q, f.qs, f.E), p.k_packed = packs(f.k, f.ks, f.E);
  p.v_packed = packs(f.v, f.vs, f.D);
  p.keep = f.keep, p.keep_batch = f.keep_batch;
  return p;
}

}  // namespace

template <class T>
bool causal_linear_fits(const CausalLinearParams<T>& p, std::string* why) {
  constexpr index_t most_heads = index_t{1} << 20;
  const bool fits = p.E >= 1 && p.E <= most_width && p.D >= 1 && p.D <= most_width &&
                    p.B * p.H <= most_heads && p.B * p.H * p.N > 0;
  if (!fits) {
    if (why)
      *why = fmt::format("expected tokens, and heads of at most {} channels; got E={} and D={}",
                         most_width, p.E, p.D);
    return false;
  }
  const int bytes = most_shared_bytes<T>(int(p.E), int(p.D));
  if (bytes <= max_shared_bytes()) return true;
  if (why)
    *why = fmt::format("it takes {} bytes of shared memory, and a block has {}", bytes,
                       max_shared_bytes());
  return false;
}

template <class T>
void causal_linear_segments(const CausalLinearParams<T>& f) {
  forward(problem_of(f), Heads<T>{f.y, f.ys}, f.d);
}

template <class T>
void causal_linear_backward_segments(const CausalLinearBackwardParams<T>& b) {
  const CausalLinearParams<T>& f = b.f;
  Problem<T> p = problem_of(f);
  p.dy = {b.dy, b.dys}, p.dy_packed = packs(b.dy, b.dys, f.D);
  const index_t rows = f.B * f.H * f.N;
  const Scratch<float> memory(f.normalize ? 2 * rows : 0);
  if (f.normalize) {
    coefficients(p, Heads<const T>{f.y, f.ys}, f.d, memory.data(), memory.data() + rows);
    p.inverse = memory.data(), p.rest = memory.data() + rows;
  }
  if (b.dq_mode != GradMode::ignore) backward_query(p, GradOf<T>{{b.dq, b.dqs}, b.dq_mode});
  if (b.dk_mode != GradMode::ignore || b.dv_mode != GradMode::ignore)
    backward_key(p, GradOf<T>{{b.dk, b.dks}, b.dk_mode}, GradOf<T>{{b.dv, b.dvs}, b.dv_mode});
}

template bool causal_linear_fits(const CausalLinearParams<float>&, std::string*);
template bool causal_linear_fits(const CausalLinearParams<bf16>&, std::string*);
template void causal_linear_segments(const CausalLinearParams<float>&);
template void causal_linear_segments(const CausalLinearParams<bf16>&);
template void causal_linear_backward_segments(const CausalLinearBackwardParams<float>&);
template void causal_linear_backward_segments(const CausalLinearBackwardParams<bf16>&);

}  // namespace flr::cuda
