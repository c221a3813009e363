// The entries of the CUDA table, one function template each, defined and instantiated (float, double,
// bf16) in the file named beside it. table.cpp assembles them.
#pragma once

#include "common/stream.hpp"

namespace flr::cuda {

template <class T> void fill(T* x, index_t n, compute_t<T> value);                      // fill.cu
template <class T> void copy(const CopyParams<T>&);                                     // copy.cu
template <class T> void map(const MapParams&);                                          // map.cpp
template <class T> void reduce(const ReduceParams<T>&);                                 // reduce.cu
template <class T> void gemm(const GemmParams<T>&);                                     // gemm.cpp
template <class T> void linear(const LinearParams<T>&);                                 // linear.cu
template <class T> void linear_backward(const LinearBackwardParams<T>&);
template <class T> void residual_mlp(const ResidualMlpParams<T>&);                      // residual_mlp.cu
template <class T> void residual_mlp_backward(const ResidualMlpBackwardParams<T>&);
template <class T> bool supports_residual_mlp(const ResidualMlpParams<T>&, std::string* why);
template <class T> bool supports_feed_forward(const FeedForwardParams<T>&, std::string* why);  // feed_forward/
template <class T> void feed_forward(const FeedForwardParams<T>&);
template <class T> void feed_forward_backward(const FeedForwardBackwardParams<T>&);
template <class T> void norm(const NormParams<T>&);                                     // norm.cu
template <class T> void norm_backward(const NormBackwardParams<T>&);
template <class T> void softmax(const SoftmaxParams<T>&);                               // softmax.cu
template <class T> void softmax_backward(const SoftmaxBackwardParams<T>&);
template <class T> void sdpa(const SdpaParams<T>&);                                     // sdpa.cu
template <class T> void sdpa_backward(const SdpaBackwardParams<T>&);
template <class T> bool supports_damped_ema(const DampedEmaParams<T>&, std::string* why);  // damped_ema/
template <class T> void damped_ema(const DampedEmaParams<T>&);
template <class T> void damped_ema_backward(const DampedEmaBackwardParams<T>&);
template <class T> bool supports_causal_linear(const CausalLinearParams<T>&, std::string* why);  // causal_linear/
template <class T> void causal_linear(const CausalLinearParams<T>&);
template <class T> void causal_linear_backward(const CausalLinearBackwardParams<T>&);
template <class T> bool supports_causal_flare(const CausalFlareParams<T>&, std::string* why);  // causal_flare/
template <class T> void causal_flare(const CausalFlareParams<T>&);
template <class T> void causal_flare_backward(const CausalFlareBackwardParams<T>&);
template <class T> bool supports_linear_attention(const LinearAttentionParams<T>&, std::string* why);  // linear_attention/
template <class T> void linear_attention(const LinearAttentionParams<T>&);
template <class T> void linear_attention_backward(const LinearAttentionBackwardParams<T>&);
template <class T> bool supports_favor(const FavorParams<T>&, std::string* why);         // favor/
template <class T> void favor(const FavorParams<T>&);
template <class T> void favor_backward(const FavorBackwardParams<T>&);
template <class T> bool supports_performer(const PerformerParams<T>&, std::string* why);  // performer/
template <class T> void performer(const PerformerParams<T>&);
template <class T> void performer_backward(const PerformerBackwardParams<T>&);
template <class T> bool supports_flare(const FlareParams<T>&, std::string* why);         // flare/
template <class T> void flare_backward(const FlareBackwardParams<T>&);
template <class T> bool supports_outer(const OuterOperands<T>&, std::string* why);       // outer_product/
template <class T> void outer_state(const OuterStateParams<T>&);
template <class T> void outer_read(const OuterReadParams<T>&);
template <class T> void embedding(const EmbeddingParams<T>&);                           // embedding.cu
template <class T> void embedding_backward(const EmbeddingBackwardParams<T>&);
template <class T> void gather(const GatherParams<T>&);                                 // gather.cu
template <class T> void gather_backward(const GatherBackwardParams<T>&);
template <class T> void cross_entropy(const CrossEntropyParams<T>&);                    // cross_entropy.cu
template <class T> void cross_entropy_backward(const CrossEntropyBackwardParams<T>&);
template <class T> void relative_loss(const RelativeLossParams<T>&);                    // relative_loss.cu
template <class T> void relative_loss_backward(const RelativeLossBackwardParams<T>&);
template <class T> void random(const RandomParams<T>&);                                 // random.cu
template <class T> void dropout(const DropoutParams<T>&);
template <class T> void update(const UpdateParams<T>&);                                 // update.cu
template <class T> void sum_squares(const T* g, index_t n, double* out);
template <class T> void ema(T* shadow, const T* p, index_t n, double decay);
template <class T> void to_f32(const T* x, float* y, index_t n);                        // convert.cu
template <class T> void to_f64(const T* x, double* y, index_t n);
template <class T> void to_bf16(const T* x, bf16* y, index_t n);
template <class T> void from_u8(const std::uint8_t* x, T* y, index_t n);
template <class T> void to_u8(const T* x, std::uint8_t* y, index_t n);

}  // namespace flr::cuda
