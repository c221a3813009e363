// Formulas, views, sums, products, norms, softmax, losses, embeddings on the GPU.
#include <array>

#include "compare.hpp"
#include "flr/core/precision.hpp"

using namespace cuda_test;

TEST_CASE("cuda formulas: layouts, broadcasting, derivatives") {
  manual_seed(1);
  const auto f = [](const auto& x) { return map(silu(_1) * _2 + tanh(_3) * 0.5, x[0], x[1], x[2]); };
  for (const Shape& s : {Shape{1}, Shape{31}, Shape{4, 33}, Shape{3, 5, 64}, Shape{2, 3, 4, 7}}) {
    compare_all("same shapes " + s.str(), f, {draw(s), draw(s), draw(s)});
    Shape row = s;
    for (int a = 0; a + 1 < s.rank(); ++a) row[a] = 1;
    compare_all("rows " + s.str(), f, {draw(s), draw(row), draw({1})});
    Shape column = s;
    column[-1] = 1;
    compare_all("columns " + s.str(), f, {draw(s), draw(column), draw(s)});
  }
  const auto strided = [](const auto& x) { return map(_1 * _2, x[0].transpose(0, 1), x[1]); };
  compare_all("transposed", strided, {draw({37, 65}), draw({65, 37})});
  const auto every = [](const auto& x) {
    return map(gelu(_1) + gelu_tanh(_1) + erf(_1) + softplus(_1) + elu(_1) + sigmoid(_1) + relu(_1) +
                   exp(_1 * 0.1) + sin(_1) + cos(_1) + square(_1) + abs(_1) + sqrt(abs(_1) + 1) +
                   log(abs(_1) + 1) + rsqrt(abs(_1) + 1) + where(_1 > 0.5, _1, _2) + min(_1, _2) +
                   max(_1, 0.25) + pow(abs(_1) + 1, 1.5) + reciprocal(abs(_2) + 1) + sign(_2),
               x[0], x[1]);
  };
  compare_all("every word", every, {draw({1001}), draw({1001})});
}

TEST_CASE("cuda views, copies and sums") {
  manual_seed(2);
  const auto moved = [](const auto& x) {
    return concat<typename std::decay_t<decltype(x[0])>::value_type>(
        {x[0].permute({2, 0, 1}).contiguous(), x[1]}, 1);
  };
  compare_all("permute, concat", moved, {draw({5, 33, 7}), draw({7, 2, 33})});
  const auto cut = [](const auto& x) { return flip(roll(slice(x[0], 1, 3, 40, 2), 3, 1), 0); };
  compare_all("slice, roll, flip", cut, {draw({6, 41, 3})});
  for (const Shape& s : {Shape{1, 1}, Shape{1000, 3}, Shape{3, 10007}, Shape{70001, 64}, Shape{64, 70001}}) {
    if (small() && s.numel() > 100000) continue;
    for (int axis : {0, 1}) {
      compare_all("sum " + s.str(), [=](const auto& x) { return sum(x[0], {axis}); }, {draw(s)});
      compare_all("mean " + s.str(), [=](const auto& x) { return mean(x[0], {axis}, true); }, {draw(s)});
      compare_all("max " + s.str(), [=](const auto& x) { return max(x[0], {axis}); }, {draw(s)});
    }
    compare_all("total " + s.str(), [=](const auto& x) { return sum(square(x[0])); }, {draw(s)});
  }
  compare_all("inner and outer", [](const auto& x) { return sum(x[0], {0, 2}); }, {draw({9, 17, 33})});
  // Axes that stay two, of few rows and of many.
  compare_all("axes apart", [](const auto& x) { return sum(x[0], {0, 2}); }, {draw({2, 5, 3, 64})});
  compare_all("axes apart", [](const auto& x) { return max(x[0], {0, 2}); }, {draw({40, 6, 9, 16})});
  compare_all("in the middle", [](const auto& x) { return mean(x[0], {1}); }, {draw({32, 203, 128})});
  compare_all("few columns", [](const auto& x) { return sum(x[0], {0}); }, {draw({4001, 5})});
}

TEST_CASE("cuda sums of few rows and many columns") {
  manual_seed(12);
  for (auto [rows, cols] : {std::pair<index_t, index_t>{8, 131080}, {9, 131080}, {37, 131072}, {65, 131080},
                            {19, 16485}, {32, 256000}}) {
    if (small() && rows * cols > 1500000) continue;
    const Shape s{rows, cols};
    compare_all("sum " + s.str(), [](const auto& x) { return sum(x[0], {0}); }, {draw(s)});
    compare_all("max " + s.str(), [](const auto& x) { return max(x[0], {0}); }, {draw(s)});
  }
  // What is added to every sequence of a batch, more than once: the sums over the batch accumulate.
  compare_all("positions", [](const auto& x) { return map(_1 * _2, x[0] + x[1], x[0]) + x[1]; },
              {draw({11, small() ? 37 : 1031, 128}), draw({1, small() ? 37 : 1031, 128})});
}

TEST_CASE("cuda products and dense layers") {
  manual_seed(3);
  const auto product = [](const auto& x) { return matmul(x[0], x[1]); };
  for (auto [m, k, n] : {std::array<index_t, 3>{1, 1, 1}, {3, 5, 2}, {64, 64, 64}, {33, 130, 65}, {257, 8, 1}})
    compare_all("matmul", product, {draw({m, k}), draw({k, n})});
  compare_all("batched", product, {draw({3, 2, 7, 9}), draw({2, 9, 5})});
  compare_all("transposed", [](const auto& x) { return matmul(transpose(x[0], 1, 2), transpose(x[1], 1, 2)); },
              {draw({4, 9, 17}), draw({4, 6, 9})});
  for (Activation act : {Activation::identity, Activation::gelu_tanh, Activation::gelu, Activation::silu,
                         Activation::relu, Activation::tanh, Activation::sigmoid})
    for (auto [rows, in, out] : {std::array<index_t, 3>{1, 2, 64}, {1000, 64, 64}, {333, 3, 16}, {129, 64, 1},
                                 {70, 80, 80}, {65, 128, 512}})
      compare_all(fmt::format("linear {}x{}->{}", rows, in, out),
                  [=](const auto& x) { return linear(x[0], x[1], x[2], act); },
                  {draw({rows, in}), draw({out, in}, 0.2), draw({out})});
  // Gradients of weights and biases by tensor cores in bf16: tiles of every size, what fills them in part.
  for (auto [rows, in, out] :
       {std::array<index_t, 3>{1025, 64, 64}, {3000, 128, 384}, {2050, 72, 264}, {1999, 40, 128}})
    compare_all(fmt::format("linear {}x{}->{}", rows, in, out),
                [](const auto& x) { return linear(x[0], x[1], x[2]); },
                {draw({rows, in}), draw({out, in}, 0.2), draw({out})});
  if (!small())
    compare_all("linear, many rows", [](const auto& x) { return linear(x[0], x[1], x[2], Activation::gelu_tanh); },
                {draw({200001, 64}), draw({64, 64}, 0.1), draw({64})});
}

namespace {

/// The residual MLP as a bf16 program without the fused entry has it: the result of every product,
/// every activation and every addition is stored. (The CPU's fused entry works in float on widened
/// copies and rounds x, the pre-activations and y only: no chain of bf16 layers is that exact.)
/// `last` receives the activation before the last layer.
template <class T>
Tensor<T> mlp_chain(const std::vector<Tensor<T>>& t, Tensor<T>* last = nullptr) {
  Tensor<T> a = t[0];
  std::size_t i = 1;
  for (; i + 2 < t.size(); i += 2) {
    const Tensor<T> value = gelu_tanh(linear(a, t[i], t[i + 1]));
    a = value.size(-1) == a.size(-1) ? value + a : value;
  }
  if (last) *last = a;
  const Tensor<T> y = linear(a, t[i], t[i + 1]);
  return y.size(-1) == a.size(-1) ? y + a : y;
}

/// The norm of what the last layer adds up. A single output is a sum of random signs and may be far
/// below its terms, which carry the rounding of the layers before.
double mlp_terms(const std::vector<Tensor<double>>& t) {
  Tensor<double> a;
  const bool residual = mlp_chain(t, &a).size(-1) == a.size(-1);
  const auto x = doubles(a), w = doubles(t[t.size() - 2]), b = doubles(t.back());
  const std::size_t hid = w.size() / b.size();
  double sum = 0;
  for (std::size_t r = 0; r < x.size(); r += hid)
    for (std::size_t o = 0; o < b.size(); ++o) {
      sum += b[o] * b[o] + (residual ? x[r + o] * x[r + o] : 0);
      for (std::size_t k = 0; k < hid; ++k) sum += std::pow(x[r + k] * w[o * hid + k], 2);
    }
  return std::sqrt(sum);
}

/// x, then weight and bias of each layer.
std::vector<Tensor<double>> mlp_inputs(index_t rows, index_t in, index_t hid, index_t out, int layers) {
  std::vector<Tensor<double>> x{draw({rows, in})};
  const double scale = 0.7 / std::sqrt(double(hid));
  for (int l = 0; l < layers + 2; ++l) {
    const index_t from = l == 0 ? in : hid, to = l == layers + 1 ? out : hid;
    x.push_back(draw({to, from}, scale)), x.push_back(draw({to}, 0.3));
  }
  return x;
}

const auto fused_mlp = [](const auto& t) {
  std::decay_t<decltype(t)> w, b;
  for (std::size_t i = 1; i < t.size(); i += 2) w.push_back(t[i]), b.push_back(t[i + 1]);
  return residual_mlp(t[0], w, b, {true, true, Activation::gelu_tanh});
};
const auto plain_mlp = [](const auto& t) { return mlp_chain(t); };

}  // namespace

TEST_CASE("cuda residual MLP") {
  manual_seed(4);
  for (index_t hid : {32, 36, 64, 96, 128, 256})  // 36: floats outside the tensor cores
    for (int layers : {0, 2, 3})
      // 17,001 rows fill two thirds of a block of 128 columns; 33,793 need a second chunk of the
      // backward pass in two launches.
      for (index_t rows : {1, 33, 1000, 17001, 33793})
        for (auto [in, out] : {std::pair{hid, hid}, {index_t{2}, hid}, {hid, index_t{1}}}) {
          if (rows == 1000 && hid > 128) continue;
          const bool wide = hid == 128 && layers == 3, split = hid == 96 && layers == 2 && rows != 17001;
          if (rows > 1000 && (small() || in != out || !(wide || split))) continue;
          const auto x = mlp_inputs(rows, in, hid, out, layers);
          compare_with_plain(fmt::format("residual_mlp {} rows {}->{}x{}->{}", rows, in, hid, layers, out),
                             fused_mlp, plain_mlp, x, {.terms = {mlp_terms(x)}});
        }
}

// Rows for each length of the float kernels' tiles, 16 to 128.
TEST_CASE("cuda residual MLP: floats in products of tf32, one and three") {
  manual_seed(5);
  struct Fp32Again {
    ~Fp32Again() { set_matmul_precision(MatmulPrecision::fp32); }
  } scope;
  for (auto precision : {MatmulPrecision::fp32, MatmulPrecision::tf32})
    for (auto [rows, in, hid, out] : {std::array<index_t, 4>{1, 32, 32, 32}, {972, 64, 64, 64}, {33, 5, 40, 7},
                                      {4300, 64, 64, 64}, {8500, 64, 64, 3}, {17001, 64, 64, 64}, {8500, 128, 128, 128}}) {
      if (small() && rows > 1000) continue;
      set_matmul_precision(precision);
      const auto x = mlp_inputs(rows, in, hid, out, 2);
      Rule rule{.terms = {mlp_terms(x)}};
      rule.tf32 = precision == MatmulPrecision::tf32;
      if (rule.tf32) rule.float_tolerance = 1e-3;
      compare<float>(fmt::format("residual_mlp {} rows {}->{}->{} {}", rows, in, hid, out, rule.tf32), fused_mlp,
                     plain_mlp, x, rule);
    }
}

TEST_CASE_TEMPLATE("cuda: norms of sums are what additions and norms are, to the bit", T, float, double, bf16) {
  manual_seed(6);
  for (const index_t cols : {1, 7, 64, 128, 300, 9000}) {
    const auto drawn = [&](Shape shape) { return draw(std::move(shape)).template to<T>().to(Device::cuda); };
    const auto x = drawn({50, 30, cols}), a = drawn({50, 30, cols}), rows = drawn({30, cols});
    const auto w = draw({cols}).template to<compute_t<T>>().to(Device::cuda);
    const auto check = [&](const SumAndNorm<T>& y, const Tensor<T>& sum) {
      CAPTURE(cols);
      CHECK(doubles(y.sum) == doubles(sum));
      CHECK(doubles(y.norm) == doubles(layer_norm(sum, w)));
    };
    check(add_layer_norm(x, a, rows, w), (x + a) + rows);
    check(add_layer_norm(x, a, {}, w), x + a);
    check(add_layer_norm(x, {}, rows, w), x + rows);
    // Beginning between the places from which 16 bytes are read at once.
    const auto shifted = slice(drawn({50 * 30 * cols + 1}), 0, 1, 50 * 30 * cols + 1).reshape(x.shape());
    check(add_layer_norm(x, shifted, rows, w), (x + shifted) + rows);
  }
  const auto none = zeros<T>({2, 0, 8}, Device::cuda);
  CHECK(add_layer_norm(none, none, zeros<T>({0, 8}, Device::cuda)).norm.shape() == Shape{2, 0, 8});
  CHECK_THROWS_WITH(add_layer_norm(none, zeros<T>({2, 0, 8})),
                    "[add_layer_norm] expected the addend on cuda, where x is; got one on cpu");
}

TEST_CASE("cuda norms and softmax") {
  manual_seed(5);
  for (auto [rows, cols] : {std::pair<index_t, index_t>{1, 1}, {3, 7}, {1000, 64}, {77, 128}, {5, 4096}, {40001, 64}}) {
    if (small() && rows > 2000) continue;
    if (cols > 1)
      compare_all("layer_norm", [](const auto& x) {
        using T = typename std::decay_t<decltype(x[0])>::value_type;
        return layer_norm(x[0], x[1].template to<compute_t<T>>(), x[2].template to<compute_t<T>>());
      }, {draw({rows, cols}), draw({cols}), draw({cols})});
    compare_all("rms_norm", [](const auto& x) {
      using T = typename std::decay_t<decltype(x[0])>::value_type;
      return rms_norm(x[0], x[1].template to<compute_t<T>>(), 1e-6);
    }, {draw({rows, cols}), draw({cols})});
    compare_all("add_rms_norm", [](const auto& x) {
      using T = typename std::decay_t<decltype(x[0])>::value_type;
      const auto y = add_rms_norm(x[0], x[1], x[2], x[3].template to<compute_t<T>>(), 1e-6);
      return y.sum * y.norm;
    }, {draw({3, rows, cols}), draw({3, rows, cols}), draw({rows, cols}), draw({cols})});
    for (int axis : {0, 1}) {
      compare_all("softmax", [=](const auto& x) { return softmax(x[0], axis); }, {draw({rows, cols}, 3)});
      compare_all("log_softmax", [=](const auto& x) { return log_softmax(x[0], axis); }, {draw({rows, cols}, 3)});
    }
  }
}

TEST_CASE("cuda losses, embedding, gather") {
  manual_seed(6);
  for (index_t len : {1, 33, 20011}) {
    compare_all("relative_l2", [](const auto& x) { return relative_l2(x[0], x[1]); }, {draw({3, len}), draw({3, len})});
    compare_all("relative_l1", [](const auto& x) { return relative_l1(x[0], x[1]); }, {draw({3, len}), draw({3, len})});
  }
  std::vector<index_t> label, row;
  for (index_t i = 0; i < 777; ++i) label.push_back(i % 11 == 3 ? -100 : (i * 7) % 10), row.push_back((i * i) % 23);
  const auto labels = from_vector(label, {777}), rows = from_vector(row, {777});
  compare_all("cross_entropy", [&](const auto& x) { return cross_entropy(x[0], labels.to(x[0].device())); },
              {draw({777, 10}, 3)});
  compare_all("embedding", [&](const auto& x) { return embedding(rows.to(x[0].device()), x[0], 4); }, {draw({23, 65})});
  compare_all("gather", [&](const auto& x) {
    return gather(x[0], 1, rows.reshape({3, 7, 37}).to(x[0].device()));
  }, {draw({3, 30, 37})});
  compare_all("bce", [](const auto& x) { return bce_with_logits(x[0], x[1]); }, {draw({50, 3}), rand<double>({50, 3})}, 1);
}

TEST_CASE("cuda draws the CPU's random numbers") {
  for (index_t n : {1, 5, 1023, 100003}) {
    manual_seed(7);
    const auto cpu = rand<float>({n}).to_vector();
    manual_seed(7);
    CHECK(rand<float>({n}, Device::cuda).to_vector() == cpu);
    manual_seed(8);
    const auto normal = doubles(randn<double>({n}));
    manual_seed(8);
    CHECK(relative(doubles(randn<double>({n}, Device::cuda)), normal) < 1e-12);
  }
  compare_all("dropout", [](const auto& x) { manual_seed(9); return dropout(x[0], 0.3, true); }, {draw({1001})});
}
