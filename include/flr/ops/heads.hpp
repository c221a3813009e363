// What the nodes of attention share: heads as kernels read them, key masks, the places of
// gradients.
#pragma once

#include "flr/graph/record.hpp"
#include "flr/ops/views.hpp"

namespace flr::detail {

/// The strides of heads [B or 1, H or 1, N, D], 0 where an axis is broadcast.
template <Floating T>
HeadStrides head_strides(const Tensor<T>& x) {
  const Shape& s = x.strides();
  return {x.size(0) == 1 ? 0 : s[0], x.size(1) == 1 ? 0 : s[1], s[2]};
}

/// Heads as kernels read them: the last axis contiguous.
template <Floating T>
Tensor<T> readable_heads(const Tensor<T>& x) {
  return x.strides()[3] == 1 || x.size(3) == 1 ? x : contiguous(x);
}

/// The gradient of heads as kernels read it: the last axis contiguous, rows at multiples of `bytes`.
template <Floating T>
Tensor<T> readable_gradient(Backward& b, index_t bytes = sizeof(T)) {
  Tensor<T> dy = b.grad_strided<T>();
  const Shape& s = dy.strides();
  const index_t whole = bytes / index_t{sizeof(T)};
  const bool contiguous = s[3] == 1 || dy.size(3) == 1;
  const bool aligned = s[0] % whole == 0 && s[1] % whole == 0 && s[2] % whole == 0 &&
                       reinterpret_cast<std::uintptr_t>(dy.data()) % static_cast<std::uintptr_t>(bytes) == 0;
  return contiguous && aligned ? dy : dy.clone();
}

/// The key mask [B or 1, keys] as a call's parameters hold it; undefined: all keys take part.
template <class P>
void bind_keep(const char* operation, P& p, const Tensor<std::uint8_t>& keep, index_t keys) {
  if (!keep.defined()) return;
  check(keep.rank() == 2 && (keep.size(0) == p.B || keep.size(0) == 1) && keep.size(1) == keys &&
            keep.is_contiguous(),
        "[{}] expected a contiguous keep-mask [{} or 1, {}], got {}", operation, p.B, keys,
        keep.shape());
  p.keep = keep.data(), p.keep_batch = keep.size(0) == 1 ? 0 : keys;
}

/// Memory for the gradients of q, k and v that are parts of one projection, [q|k|v] or by heads: parts of
/// one tensor too, so that nothing has to be put together again (ops/concat.hpp). Empty for others.
template <Floating T>
std::vector<Tensor<T>> joint_gradients(const Tensor<T>& q, const Tensor<T>& k, const Tensor<T>& v) {
  if (q.rank() != 4 || k.rank() != 4 || v.rank() != 4) return {};
  const index_t B = q.size(0), H = q.size(1), N = q.size(2), D = q.size(3), C = H * D;
  const index_t apart = k.impl().offset - q.impl().offset;
  const Shape& s = q.strides();
  const bool by_projection = apart == C && (H == 1 || s[1] == D);
  const bool by_head = apart == D && (H == 1 || s[1] == 3 * D);
  if (q.numel() == 0 || q.shape() != k.shape() || k.shape() != v.shape() || k.strides() != s ||
      v.strides() != s || q.impl().storage != k.impl().storage ||
      k.impl().storage != v.impl().storage || v.impl().offset - k.impl().offset != apart ||
      s[3] != 1 || (N > 1 && s[2] != 3 * C) || (B > 1 && s[0] != 3 * C * N) ||
      !(by_projection || by_head))
    return {};
  const auto memory = Tensor<T>::empty({B, N, 3 * C}, q.device());
  std::vector<Tensor<T>> parts;
  for (index_t i = 0; i < 3; ++i) parts.push_back(view_of(memory, q.shape(), s, i * apart));
  return parts;
}

/// Where a node's first three inputs q, k and v want their gradients, in their own layouts; written
/// into the parameters of the backward call, which it must outlive.
template <Floating T>
class HeadTargets {
 public:
  template <class P>
  HeadTargets(Backward& b, const char* operation, const Saved<T>& q, const Saved<T>& k,
              const Saved<T>& v, P& p)
      : joint_(b.has_no_place<T>(0) && b.has_no_place<T>(1) && b.has_no_place<T>(2)
                   ? joint_gradients(q.get(operation), k.get(operation), v.get(operation))
                   : std::vector<Tensor<T>>{}),
        dq_(target(b, 0, q.get(operation))),
        dk_(target(b, 1, k.get(operation))),
        dv_(target(b, 2, v.get(operation))) {
    p.dq = dq_.data(), p.dk = dk_.data(), p.dv = dv_.data();
    p.dq_mode = dq_.mode(), p.dk_mode = dk_.mode(), p.dv_mode = dv_.mode();
    if (dq_.wanted()) p.dqs = head_strides(dq_.tensor());
    if (dk_.wanted()) p.dks = head_strides(dk_.tensor());
    if (dv_.wanted()) p.dvs = head_strides(dv_.tensor());
  }

 private:
  GradTarget<T> target(Backward& b, int input, const Tensor<T>& like) {
    return joint_.empty() ? b.target_as<T>(input, like)
                          : b.target_in_place<T>(input, joint_[static_cast<std::size_t>(input)]);
  }

  std::vector<Tensor<T>> joint_;
  GradTarget<T> dq_, dk_, dv_;
};

}  // namespace flr::detail
