// What an operation asks of a backend: one struct of named members per table entry. Pointers are
// device pointers of the backend's device; strides count elements; the last axis is contiguous
// unless a member says otherwise. T is the storage type, compute_t<T> the type of statistics.
#pragma once

#include "flr/core/scalar.hpp"
#include "flr/core/shape.hpp"

namespace flr {

/// What to do with a gradient's destination: nothing, write it, or add to it.
enum class GradMode : unsigned char { ignore, overwrite, accumulate };

/// Activations that the fused entries apply. `gelu` is exact (erf), `gelu_tanh` Hendrycks's tanh form.
enum class Activation : unsigned char { identity, relu, gelu, gelu_tanh, silu, tanh, sigmoid };

/// C[i,j] = alpha · op(A)[i,j] op(B)[i,j] + beta · C[i,j] for i, j over two batch axes.
/// op(A) is m×k, op(B) k×n, C m×n, all row-major with leading dimensions lda, ldb, ldc.
template <class T>
struct GemmParams {
  index_t m = 0, n = 0, k = 0;
  index_t batch[2] = {1, 1};
  const T* a = nullptr;
  const T* b = nullptr;
  T* c = nullptr;
  index_t lda = 0, ldb = 0, ldc = 0;
  bool trans_a = false, trans_b = false;  ///< A is stored k×m, B is stored n×k
  index_t batch_a[2] = {0, 0}, batch_b[2] = {0, 0}, batch_c[2] = {0, 0};
  compute_t<T> alpha = 1, beta = 0;
};

/// y[rows,out] = act(x[rows,in] wᵀ + b); w is [out,in]; b may be null.
/// `pre` receives x wᵀ + b, which backward needs, unless it is null.
template <class T>
struct LinearParams {
  index_t rows = 0, in = 0, out = 0;
  const T *x = nullptr, *w = nullptr, *b = nullptr;
  Activation act = Activation::identity;
  T* y = nullptr;
  T* pre = nullptr;
};

/// Gradients of LinearParams. `pre` as saved by forward (unused for identity).
template <class T>
struct LinearBackwardParams {
  index_t rows = 0, in = 0, out = 0;
  const T *x = nullptr, *w = nullptr, *pre = nullptr, *dy = nullptr;
  Activation act = Activation::identity;
  T* dx = nullptr;
  compute_t<T>*dw = nullptr, *db = nullptr;
  GradMode dx_mode = GradMode::ignore, dw_mode = GradMode::ignore, db_mode = GradMode::ignore;
};

/// The most hidden layers that the fused residual MLP takes.
inline constexpr int max_mlp_layers = 16;

/// The residual MLP of FLARE (facts of the reference: ResidualMLP, depth L ≥ 0):
///   p₀ = W₀ x + b₀, a₀ = act(p₀) (+ x if residual_in);
///   pᵢ = Wᵢ aᵢ₋₁ + bᵢ, aᵢ = aᵢ₋₁ + act(pᵢ), i = 1 … L;
///   y = W_{L+1} a_L + b_{L+1} (+ a_L if residual_out).
/// W₀ [hid,in], W₁…W_L [hid,hid], W_{L+1} [out,hid].
template <class T>
struct ResidualMlpParams {
  index_t rows = 0, in = 0, hid = 0, out = 0;
  int layers = 0;  ///< L
  bool residual_in = false, residual_out = false;
  Activation act = Activation::gelu_tanh;
  const T* x = nullptr;
  const T* w[max_mlp_layers + 2] = {};
  const T* b[max_mlp_layers + 2] = {};
  T* y = nullptr;
  T* pre = nullptr;  ///< [L+1, rows, hid]: p₀ … p_L for backward, or null
};

/// Gradients of ResidualMlpParams. `pre` as saved by forward, or null: then it is computed again
/// from x, for which the biases are here.
template <class T>
struct ResidualMlpBackwardParams {
  index_t rows = 0, in = 0, hid = 0, out = 0;
  int layers = 0;
  bool residual_in = false, residual_out = false;
  Activation act = Activation::gelu_tanh;
  const T* x = nullptr;
  const T* w[max_mlp_layers + 2] = {};
  const T* b[max_mlp_layers + 2] = {};
  const T* pre = nullptr;
  const T* dy = nullptr;
  T* dx = nullptr;
  compute_t<T>* dw[max_mlp_layers + 2] = {};
  compute_t<T>* db[max_mlp_layers + 2] = {};
  GradMode dx_mode = GradMode::ignore;
  GradMode dw_mode[max_mlp_layers + 2] = {};
  GradMode db_mode[max_mlp_layers + 2] = {};
};

/// Softmax or log-softmax over the middle axis of [outer, n, inner].
template <class T>
struct SoftmaxParams {
  index_t outer = 0, n = 0, inner = 1;
  bool log = false;
  const T* x = nullptr;
  T* y = nullptr;
};

/// dx from y and dy: softmax dx = y(dy − Σ y dy), log-softmax dx = dy − eʸ Σ dy.
template <class T>
struct SoftmaxBackwardParams {
  index_t outer = 0, n = 0, inner = 1;
  bool log = false;
  const T *y = nullptr, *dy = nullptr;
  T* dx = nullptr;
  GradMode dx_mode = GradMode::ignore;
};

enum class Reduction : unsigned char { sum, max };

/// y[kept…] = reduction over the reduced axes of x. Both lists give extent and stride of x;
/// y is contiguous over the kept axes in their order.
template <class T>
struct ReduceParams {
  Reduction kind = Reduction::sum;
  Shape kept, kept_strides, reduced, reduced_strides;
  const T* x = nullptr;
  T* y = nullptr;
  compute_t<T> scale = 1;  ///< multiplies a sum (1/n gives the mean)
  bool accumulate = false;
};

/// dst = src over one shape, each with its own strides (0 broadcasts src).
template <class T>
struct CopyParams {
  Shape shape, src_strides, dst_strides;
  const T* src = nullptr;
  T* dst = nullptr;
  bool accumulate = false;
};

/// Four strides, in elements: batch, head, row and, for biases, column.
struct HeadStrides {
  index_t batch = 0, head = 0, row = 0;
};

/// The gradient of a mixer's result, given, and those of its heads q, k and v, each wanted as its mode
/// says.
template <class T>
struct HeadGradients {
  const T* dy = nullptr;
  HeadStrides dys;
  T *dq = nullptr, *dk = nullptr, *dv = nullptr;
  HeadStrides dqs, dks, dvs;
  GradMode dq_mode = GradMode::ignore, dk_mode = GradMode::ignore, dv_mode = GradMode::ignore;
};

/// y = softmax(scale · q kᵀ + bias, masked) v for [B,H,Nq,D] × [B,H,Nk,D] × [B,H,Nk,Dv]; the last
/// axis of q, k, v, o is contiguous; a batch or head stride of 0 broadcasts (q, k and v alike).
/// Causal: key j is visible to query i when j ≤ i + (Nk − Nq). keep[b,j] = 0 hides key j.
/// A query that sees no key gives zeros and lse = −∞. lse [B,H,Nq] is contiguous, may be null.
template <class T>
struct SdpaParams {
  index_t B = 0, H = 0, Nq = 0, Nk = 0, D = 0, Dv = 0;
  compute_t<T> scale = 1;
  bool causal = false;
  const T *q = nullptr, *k = nullptr, *v = nullptr;
  HeadStrides qs, ks, vs;
  const std::uint8_t* keep = nullptr;  ///< [B or 1, Nk]; keep_batch is its batch stride
  index_t keep_batch = 0;
  const T* bias = nullptr;  ///< [B,H,Nq,Nk] with strides below, any of them 0
  HeadStrides bias_s;
  index_t bias_col = 0;
  T* o = nullptr;
  HeadStrides os;
  compute_t<T>* lse = nullptr;
};

/// Gradients of SdpaParams; `f` repeats the forward call, with o and lse filled in. A gradient has
/// the strides given here; where its input was broadcast over batch or heads (stride 0), the
/// gradient's stride is 0 there too and the sum is formed in a fixed order. dbias is laid out as
/// bias is, broadcast axes (stride 0) summed.
template <class T>
struct SdpaBackwardParams {
  SdpaParams<T> f;
  const T* dout = nullptr;
  HeadStrides dos;
  T *dq = nullptr, *dk = nullptr, *dv = nullptr, *dbias = nullptr;
  HeadStrides dqs, dks, dvs;
  GradMode dq_mode = GradMode::ignore, dk_mode = GradMode::ignore, dv_mode = GradMode::ignore,
           dbias_mode = GradMode::ignore;
};

/// y[b,t,c] = Σ_j weight[c,j] s_j[b,t,c], s_j[t] = decay[c,j] s_j[t−1] + x[b,t,c], s_j = 0 before the
/// first token; with `reverse` from the last token to the first. x, y [batch, tokens, channels],
/// decay and weight [channels, order].
template <class T>
struct DampedEmaParams {
  index_t batch = 0, tokens = 0, channels = 0, order = 0;
  bool reverse = false;
  const T* x = nullptr;
  const compute_t<T>*decay = nullptr, *weight = nullptr;
  T* y = nullptr;
};

/// Gradients of DampedEmaParams; `f` repeats the forward call (its y is not read).
template <class T>
struct DampedEmaBackwardParams {
  DampedEmaParams<T> f;
  const T* dy = nullptr;
  T* dx = nullptr;
  compute_t<T>*ddecay = nullptr, *dweight = nullptr;
  GradMode dx_mode = GradMode::ignore, ddecay_mode = GradMode::ignore,
           dweight_mode = GradMode::ignore;
};

/// FLARE's mixer: z = softmax(scale · q kᵀ) v over the N tokens, y = softmax(scale · k qᵀ) z over the M
/// latents, with their log-sum-exps lse_z [B,H,M] and lse_y [B,H,N]. Heads as in SdpaParams; q may be
/// shared by the batch.
template <class T>
struct FlareParams {
  index_t B = 0, H = 0, M = 0, N = 0, D = 0;
  compute_t<T> scale = 1;
  const T *q = nullptr, *k = nullptr, *v = nullptr, *z = nullptr, *y = nullptr;
  HeadStrides qs, ks, vs, zs, ys;
  const compute_t<T>*lse_z = nullptr, *lse_y = nullptr;
};

/// Gradients of y. Where q is shared by the batch, dq has a batch stride of 0 and is summed.
template <class T>
struct FlareBackwardParams {
  FlareParams<T> f;
  const T* dy = nullptr;
  HeadStrides dys;
  T *dq = nullptr, *dk = nullptr, *dv = nullptr;
  HeadStrides dqs, dks, dvs;
  GradMode dq_mode = GradMode::ignore, dk_mode = GradMode::ignore, dv_mode = GradMode::ignore;
};

/// y[r,:] = table[index[r],:].
template <class T>
struct EmbeddingParams {
  index_t rows = 0, entries = 0, width = 0;
  const index_t* index = nullptr;
  const T* table = nullptr;
  T* y = nullptr;
};

/// dtable[index[r],:] += dy[r,:], rows in order; rows of `padding` (or −1 for none) get nothing.
template <class T>
struct EmbeddingBackwardParams {
  index_t rows = 0, entries = 0, width = 0, padding = -1;
  const index_t* index = nullptr;
  const T* dy = nullptr;
  compute_t<T>* dtable = nullptr;
  GradMode mode = GradMode::ignore;
};

/// y[o,j,i] = x[o, index[o,j,i], i]: gather along the middle axis (x has n there, y has m).
template <class T>
struct GatherParams {
  index_t outer = 0, n = 0, m = 0, inner = 1;
  const index_t* index = nullptr;
  const T* x = nullptr;
  T* y = nullptr;
};

/// dx[o, index[o,j,i], i] += dy[o,j,i], in order of j.
template <class T>
struct GatherBackwardParams {
  index_t outer = 0, n = 0, m = 0, inner = 1;
  const index_t* index = nullptr;
  const T* dy = nullptr;
  T* dx = nullptr;
  GradMode dx_mode = GradMode::ignore;
};

/// Mean cross-entropy of logits [rows, classes] over the rows whose label is not `ignore`.
/// lse [rows] and count [1] are saved for backward. No row at all gives a loss of 0.
template <class T>
struct CrossEntropyParams {
  index_t rows = 0, classes = 0, ignore = -100;
  const T* logits = nullptr;
  const index_t* labels = nullptr;
  compute_t<T>* loss = nullptr;
  compute_t<T>*lse = nullptr, *count = nullptr;
};

template <class T>
struct CrossEntropyBackwardParams {
  index_t rows = 0, classes = 0, ignore = -100;
  const T* logits = nullptr;
  const index_t* labels = nullptr;
  const compute_t<T>*lse = nullptr, *count = nullptr, *dloss = nullptr;
  T* dlogits = nullptr;
  GradMode mode = GradMode::ignore;
};

/// Mean over samples of ‖pred − target‖ₚ / ‖target‖ₚ, p = 1 or 2, over `len` elements a sample.
/// norms [samples, 2] receives the two norms for backward.
template <class T>
struct RelativeLossParams {
  index_t samples = 0, len = 0;
  int p = 2;
  const T *pred = nullptr, *target = nullptr;
  compute_t<T>* loss = nullptr;
  compute_t<T>* norms = nullptr;
};

template <class T>
struct RelativeLossBackwardParams {
  index_t samples = 0, len = 0;
  int p = 2;
  const T *pred = nullptr, *target = nullptr;
  const compute_t<T>*norms = nullptr, *dloss = nullptr;
  T *dpred = nullptr, *dtarget = nullptr;
  GradMode dpred_mode = GradMode::ignore, dtarget_mode = GradMode::ignore;
};

enum class Distribution : unsigned char { uniform, normal };

/// Element i of x becomes the i-th draw of the Philox stream (seed, step, call).
template <class T>
struct RandomParams {
  index_t n = 0;
  Distribution kind = Distribution::uniform;
  std::uint64_t seed = 0, step = 0, call = 0;
  T* x = nullptr;
};

/// y = x · keep / (1 − p), where keep is 1 with probability 1 − p, from the Philox stream
/// (seed, step, call). Backward is the same call on dy.
template <class T>
struct DropoutParams {
  index_t n = 0;
  double p = 0;
  std::uint64_t seed = 0, step = 0, call = 0;
  const T* x = nullptr;
  T* y = nullptr;
  bool accumulate = false;
};

/// A half-open range of elements of an arena.
struct ArenaRange {
  index_t begin = 0, end = 0;
};

/// Everything that a schedule can change in a step. Kernels read it from the device's memory, so that
/// a captured step sees the values of the step that it is replayed for.
struct StepScalars {
  double lr = 0, beta1 = 0, beta2 = 0, weight_decay = 0;  ///< beta1 is also the momentum of SGD
  double correction1 = 1, correction2 = 1;                ///< 1 − β₁ᵗ, 1 − β₂ᵗ
  double grad_scale = 1;                                  ///< multiplies every gradient
  double clip = 0;                                        ///< the largest gradient norm; 0: any
  double step = 1;                                        ///< t, from 1
};

enum class UpdateRule : unsigned char { adamw, adam_l2, sgd, lion, lion_legacy };

/// One optimiser step over ranges of an arena. Decay is decoupled for adamw, lion and added to the
/// gradient for adam_l2, sgd and lion_legacy. m and v are the first and second moments (v is unused
/// by sgd and the lions; m is null for sgd without momentum). The gradient counts
/// grad_scale · min(1, clip/(‖g‖·grad_scale + 1e-6)); without `norm_squared` nothing is clipped, and
/// where it is not finite the step is left out: a NaN must not reach the weights.
template <class T>
struct UpdateParams {
  UpdateRule rule = UpdateRule::adamw;
  const ArenaRange* ranges = nullptr;  ///< on the host
  int range_count = 0;
  T* p = nullptr;
  const T* g = nullptr;
  T *m = nullptr, *v = nullptr;
  bf16* shadow = nullptr;                ///< receives the new p, rounded; may be null
  const StepScalars* s = nullptr;        ///< in the device's memory, as everything below
  const double* norm_squared = nullptr;  ///< Σ g² over the whole arena; may be null
  double eps = 1e-8, dampening = 0;
  bool nesterov = false;
};

}  // namespace flr
