// kernels/linear/weight_gradient_tensor.cu and sum_parts.cu as they stand there, on emulated warps, against
// sums in double.
#include <doctest/doctest.h>

#include <array>
#include <random>

#include "activations.hpp"
#include "linear/parts.hpp"

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

/// Four sums at a time, of these numbers of columns; the first accumulates, the second lies across.
template <class C>
void check_sums(index_t parts, std::array<index_t, 4> columns, index_t across) {
  constexpr C untouched = 3;
  std::mt19937 random(7);
  std::normal_distribution<C> normal;
  std::vector<C> partials[4], sums[4];
  cuda::dense::PartSum<C> s[4];
  for (std::size_t k = 0; k < 4; ++k) {
    for (index_t i = 0; i < parts * columns[k]; ++i) partials[k].push_back(normal(random));
    sums[k].assign(std::size_t(columns[k]) + 8, untouched);
    s[k] = {columns[k], partials[k].data(), sums[k].data(), k == 0, k == 1 ? across : 0};
  }
  s[3].y = nullptr;
  cuda::dense::sum_parts<C>(parts, {s[0], s[1], s[2], s[3]});
  for (std::size_t k = 0; k < 4; ++k) {
    const index_t n = columns[k];
    bool right = true;
    for (index_t i = 0; i < n && k < 3; ++i) {
      C total = 0;  // in the order that is promised: 16 shares
      for (index_t group = 0; group < 16; ++group) {
        C share = 0;
        for (index_t part = group; part < parts; part += 16) share += partials[k][std::size_t(part * n + i)];
        total += share;
      }
      if (k == 0) total += untouched;
      const index_t to = k == 1 ? i % across * (n / across) + i / across : i;
      right = right && sums[k][std::size_t(to)] == total;
    }
    CHECK(right);
    for (std::size_t i = k < 3 ? std::size_t(n) : 0; i < sums[k].size(); ++i) right = right && sums[k][i] == untouched;
    CHECK(right);
  }
}

TEST_CASE("sums of parts") {
  for (const index_t parts : {1, 15, 33, 132, 300}) {
    CAPTURE(parts);
    check_sums<float>(parts, {4096, 64 * 65, 130, 64}, 64);
    check_sums<float>(parts, {1, 4102, 4100, 7}, 2);
    check_sums<double>(parts, {4098, 63, 4097, 1}, 7);
  }
  check_sums<float>(0, {4096, 8, 3, 1}, 2);
  check_sums<float>(5, {0, 0, 9, 0}, 1);
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
