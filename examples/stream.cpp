// A causal FLARE layer on a stream: a beginning is taken in at once, chunk by chunk, and then one
// token after the other, each in the same time and with a state that never grows.
//
// Run: build/cpu/bin/stream
// The last line it prints starts with: stream: ok, 3000 tokens through a state of 1152 numbers
#include <flr/flr.hpp>

#include <chrono>
#include <iostream>

using namespace flr;

int main() {
  manual_seed(0);
  NoGrad scope;
  constexpr index_t tokens = 3000, prompt = 1000, channels = 64;
  const mixers::CausalFlare<float> layer({.channels = channels, .heads = 8, .latents = 16});
  const auto x = randn<float>({1, tokens, channels});

  // The state of a layer: for each head and latent the log of its softmax's denominator, and what
  // it has gathered.
  mixers::CausalFlareState<float> state;
  std::vector<Tensor<float>> y{layer.prefill(slice(x, 1, 0, prompt), state)};
  std::cout << "after " << prompt << " tokens: lse " << state.lse.shape().str() << ", z "
            << state.z.shape().str() << "\n";

  auto start = std::chrono::steady_clock::now();
  for (index_t t = prompt; t < tokens; ++t) {
    y.push_back(layer.step(slice(x, 1, t, t + 1), state));
    if ((t + 1) % 1000 == 0) {
      const auto now = std::chrono::steady_clock::now();
      std::cout << "tokens up to " << t + 1 << ": "
                << std::chrono::duration<double, std::micro>(now - start).count() / 1000
                << " us each\n";
      start = now;
    }
  }

  // The same layer on all tokens at once, as in training.
  const auto whole = layer(x);
  const float error = max(abs(concat(y, 1) - whole)).item() / max(abs(whole)).item();
  const bool ok = error < 1e-5f;
  std::cout << "stream: " << (ok ? "ok" : "FAILED") << ", " << tokens << " tokens through a state of "
            << state.lse.numel() + state.z.numel() << " numbers, as in one pass to " << error << "\n";
  return ok ? 0 : 1;
}
