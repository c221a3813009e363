// The spectrum of a FLARE layer's token mixing.
//
// Per head, S = scale · Q Kᵀ [M,N], A = e^S, W_enc = Λ_M A, W_dec = Λ_N Aᵀ with the reciprocal row and
// column sums Λ. W = W_dec W_enc is N×N of rank at most M, and with B = Λ_M^½ A Λ_N^½ it is similar
// to BᵀB; so its non-zero eigenvalues are those of the M×M matrix B Bᵀ: O(M²N + M³), nothing N×N.
#pragma once

#include "flr/models/model.hpp"
#include "flr/models/symmetric_eigenvalues.hpp"

namespace flr::models {

/// The non-zero eigenvalues of W_dec·W_enc for q [1 or H, M, D] and k [B,H,N,D]: B·H lists of M
/// values, largest first (the first is 1: W maps constants to themselves).
template <Floating T>
std::vector<std::vector<double>> mixing_spectrum(const Tensor<T>& q, const Tensor<T>& k,
                                                 double scale) {
  NoGrad scope;
  const auto kd = k.template to<double>(), qd = q.template to<double>();
  // In logarithms: B_mn = exp(S_mn − ½ lse_n(S_m·) − ½ lse_m(S_·n)) neither overflows nor vanishes.
  const Tensor<double> s = matmul(unsqueeze(qd, 0), transpose(kd, -1, -2)) * scale;
  const Tensor<double> b = map(exp(0.5 * (_1 + _2)), log_softmax(s, -1), log_softmax(s, -2));
  const Tensor<double> gram = matmul(b, transpose(b, -1, -2));
  const index_t m = gram.size(-1), heads = gram.numel() / (m * m);
  const std::vector<double> values = gram.to_vector();
  std::vector<std::vector<double>> spectra;
  for (index_t h = 0; h < heads; ++h)
    spectra.push_back(symmetric_eigenvalues(
        {values.begin() + h * m * m, values.begin() + (h + 1) * m * m}, static_cast<int>(m)));
  return spectra;
}

/// The spectra of every FLARE layer of a model for one input x [B,N,c_in]: [layer][batch·head][M].
/// `legacy` leaves out the model's scale, as the reference's analysis does.
template <Floating T>
std::vector<std::vector<std::vector<double>>> mixing_spectra(const Model<T>& model,
                                                             const Tensor<T>& x,
                                                             bool legacy = false) {
  NoGrad scope;
  const auto layers = model.flare_layers();
  check(!layers.empty(), "[spectrum] the model '{}' has no FLARE layers", model.name());
  const auto inputs = model.mixer_inputs(x);
  std::vector<std::vector<std::vector<double>>> all;
  for (std::size_t i = 0; i < layers.size(); ++i)
    all.push_back(mixing_spectrum(layers[i]->queries(), layers[i]->keys(inputs[i]),
                                  legacy ? 1 : layers[i]->options().scale));
  return all;
}

}  // namespace flr::models
