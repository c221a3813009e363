// What a training step must do at least, counted from the sizes of its model: the floor that
// cuda_train_step and cuda_lra_step hold their times against.
//
// Counted are
//   products        every weight matrix meets every token three times (forward, gradient of the
//                   input, gradient of the weight): 6 operations a token and weight;
//   attention       for a pair of query and key seven products of 2·D operations (scores and values
//                   forward; scores again and four gradients backward) and two exponentials
//                   (forward, and again backward, since weights are not kept); FLARE's mixer for a
//                   pair of token and latent twelve products (four and eight) and four
//                   exponentials, as cuda_mixer;
//   memory          each half of a block (mixer, MLP) as one pass: x in and y out forward; x and dy
//                   in, dx out backward: 5·C values a token; parameters read forward and backward,
//                   their gradients written in float, and an AdamW step (gradient and two moments
//                   and the parameter read, all but the gradient written, and the bf16 copy).
// Left out are activations' exponentials, norms, losses, embeddings and what a half of a block must
// write between its own passes, so a step can only take longer. The floor is the longest of the
// times of the three, as if they overlapped perfectly (bench::Work).
#pragma once

#include "cuda_bench.hpp"

namespace bench {

enum class Precision { fp32, tf32, bf16 };

inline const char* name_of(Precision p) {
  return p == Precision::fp32 ? "fp32" : p == Precision::tf32 ? "tf32" : "bf16";
}

class StepWork {
 public:
  explicit StepWork(Precision precision) : bytes_(precision == Precision::bf16 ? 2 : 4) {
    // Tensor cores take half as many tf32 operands as bf16 ones in a second.
    work_.flops_per_s = precision == Precision::bf16   ? flops_per_second<bf16>()
                        : precision == Precision::tf32 ? flops_per_second<bf16>() / 2
                                                       : flops_per_second<float>();
  }

  /// All matrices of a model whose name does not start with `pooled`, on `tokens` tokens, and the
  /// optimiser's work on all parameters.
  StepWork& model(const nn::Module<float>& module, double tokens, const std::string& pooled = "-") {
    for (const auto& p : module.parameters()) {
      const auto values = static_cast<double>(p.value.numel());
      if (p.role == nn::Role::weight && p.value.rank() == 2 && !p.name.starts_with(pooled))
        work_.flops += 6 * tokens * values;
      work_.bytes += values * (2 * bytes_ + 4 + 28 + (bytes_ == 2 ? 2 : 0));
    }
    return *this;
  }
  /// One softmax attention of `pairs` = B·H·Nq·Nk queries and keys with heads of `d` channels.
  StepWork& attention(double pairs, double d) {
    work_.flops += 14 * pairs * d;
    work_.exponentials += 2 * pairs;
    return *this;
  }
  /// FLARE's mixer, whose hops share the scores of the backward pass; `pairs` = B·H·N·M.
  StepWork& flare(double pairs, double d) {
    work_.flops += 24 * pairs * d;
    work_.exponentials += 4 * pairs;
    return *this;
  }
  /// Other products: `forward` operations forward, `times` as many with the backward pass.
  StepWork& products(double forward, double times = 3) {
    work_.flops += times * forward;
    return *this;
  }
  StepWork& exponentials(double count) {
    work_.exponentials += count;
    return *this;
  }
  /// `blocks` blocks of C channels on `tokens` tokens.
  StepWork& blocks(double blocks, double tokens, double channels) {
    work_.bytes += blocks * 2 * 5 * tokens * channels * bytes_;
    return *this;
  }

  const Work& work() const { return work_; }

 private:
  double bytes_;
  Work work_;
};

}  // namespace bench
