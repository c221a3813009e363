// kernels/linear/weight_gradient_tensor.cu as it stands there, on emulated warps, against sums in double.
#include <doctest/doctest.h>

#include <random>

#include "activations.hpp"
#include "linear/parts.hpp"

namespace flr::cuda::dense {

template <>
void sum_parts<float>(index_t parts, index_t n, const float* partials, float* y, index_t, bool accumulate) {
  for (index_t i = 0; i < n; ++i) {
    float sum = accumulate ? y[i] : 0;
    for (index_t part = 0; part < parts; ++part) sum += partials[part * n + i];
    y[i] = sum;
  }
}

}  // namespace flr::cuda::dense

namespace {

using namespace flr;

struct Case {
  index_t rows, in, out;
  bool bias = true, accumulate = false;
};

std::vector<bf16> draw(index_t n, std::mt19937& random) {
  std::normal_distribution<float> normal;
  std::vector<bf16> values;
  for (index_t i = 0; i < n; ++i) values.emplace_back(normal(random));
  return values;
}

void check_case(const Case& c) {
  constexpr std::size_t guard = 8;  // numbers behind a result that must stay as they are
  constexpr float before = 2, untouched = 3;
  std::mt19937 random(5);
  const std::vector<bf16> dp = draw(c.rows * c.out, random), x = draw(c.rows * c.in, random);
  const auto start = [&](index_t n) {
    std::vector<float> values(std::size_t(n), c.accumulate ? before : NAN);
    values.insert(values.end(), guard, untouched);
    return values;
  };
  std::vector<float> dw = start(c.out * c.in), db = start(c.bias ? c.out : 0);
  REQUIRE(cuda::dense::tensor_weight_gradient(c.rows, c.in, c.out, dp.data(), x.data(), dw.data(), c.accumulate,
                                              c.bias ? db.data() : nullptr, c.accumulate));

  const auto at = [](const std::vector<bf16>& values, index_t i) { return double(float(values[std::size_t(i)])); };
  emulated::Error of_dw, of_db;
  for (index_t o = 0; o < c.out; ++o) {
    std::vector<double> sums(std::size_t(c.in), c.accumulate ? before : 0);
    double sum = c.accumulate ? before : 0;
    for (index_t r = 0; r < c.rows; ++r) {
      const double g = at(dp, r * c.out + o);
      sum += g;
      for (index_t i = 0; i < c.in; ++i) sums[std::size_t(i)] += g * at(x, r * c.in + i);
    }
    for (index_t i = 0; i < c.in; ++i) of_dw.add(dw[std::size_t(o * c.in + i)], sums[std::size_t(i)]);
    if (c.bias) of_db.add(db[std::size_t(o)], sum);
  }
  CHECK(of_dw.below(1e-5));
  CHECK(of_db.below(1e-5));
  for (std::size_t i = 0; i < guard; ++i) {
    CHECK(dw[dw.size() - 1 - i] == untouched);
    CHECK(db[db.size() - 1 - i] == untouched);
  }
}

TEST_CASE("weight gradient, tiles of every size, odd rows and widths") {
  for (const Case c : {Case{1024, 64, 64}, Case{1089, 128, 64}, Case{1537, 64, 128}, Case{1300, 128, 128, true, true},
                       Case{1025, 72, 264}, Case{1100, 40, 48, true, true}, Case{1031, 136, 32},
                       Case{1024, 32, 136, false}, Case{4096, 32, 32}}) {
    CAPTURE(c.rows);
    CAPTURE(c.in);
    CAPTURE(c.out);
    check_case(c);
  }
}

TEST_CASE("weight gradient, what the kernel does not take") {
  std::vector<bf16> values(1024 * 72);
  float dw[64 * 64], db[64];
  const auto takes = [&](index_t rows, index_t in, index_t out, const bf16* dp) {
    return cuda::dense::tensor_weight_gradient(rows, in, out, dp, values.data(), dw, false, db, false);
  };
  CHECK(!takes(1023, 64, 64, values.data()));
  CHECK(!takes(1024, 60, 64, values.data()));
  CHECK(!takes(1024, 64, 60, values.data()));
  CHECK(!takes(1024, 24, 64, values.data()));
  CHECK(!takes(1024, 1024, 1024, values.data()));
  CHECK(!takes(1024, 64, 64, values.data() + 1));
}

}  // namespace
