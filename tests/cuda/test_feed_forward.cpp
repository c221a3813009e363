// The feed-forward layer as one operation on the GPU, against two dense layers on the CPU in double.
#include "compare.hpp"

using namespace cuda_test;

namespace {

struct Case {
  index_t rows, channels, hidden;
  Activation act = Activation::gelu;
};

void check_case(const Case& c) {
  const double size = 1 / std::sqrt(double(c.channels)), size2 = 1 / std::sqrt(double(c.hidden));
  const auto f = [=](const auto& t) {
    using T = typename std::remove_cvref_t<decltype(t[0])>::value_type;
    if (std::same_as<T, bf16> && !t[0].device().is_cpu()) {
      FeedForwardParams<T> p;
      p.rows = c.rows, p.channels = c.channels, p.hidden = c.hidden, p.act = c.act;
      std::string why;
      CHECK_MESSAGE(backend<T>(t[0].device()).supports_feed_forward(p, &why), why);
    }
    return feed_forward(t[0], t[1], t[2], t[3], t[4], c.act);
  };
  const auto plain = [=](const auto& t) {
    return feed_forward_composition(t[0], t[1], t[2], t[3], t[4], c.act);
  };
  compare<bf16>(fmt::format("feed_forward {} rows {}->{}", c.rows, c.channels, c.hidden), f, plain,
                {draw({c.rows, c.channels}), draw({c.hidden, c.channels}, 1.5 * size),
                 draw({c.hidden}, 0.5), draw({c.channels, c.hidden}, size2), draw({c.channels}, 0.5)}, {});
}

}  // namespace

TEST_CASE("cuda feed-forward layer") {
  manual_seed(6);
  using enum Activation;
  const index_t least = 64 * 192;  // enough for any GPU; fewer rows take two dense layers
  for (const Case& c : {Case{least, 64, 64}, Case{least + 5, 128, 192}, Case{least + 777, 64, 128, gelu_tanh},
                        Case{least + 1, 128, 128, relu}})
    check_case(c);
  if (small()) return;
  check_case({40001, 128, 512});  // several tiles of rows a warp
  check_case({40001, 128, 64});
  check_case({35013, 64, 128});
  check_case({12300, 64, 4096});  // more than is left in memory at a time
}
