// Tensors as values: creation, views, operators, printing, conversion, errors.
#include <doctest/doctest.h>

#include "flr/flr.hpp"

using namespace flr;

TEST_CASE("creation") {
  CHECK(zeros({2, 3}).to_vector() == std::vector<float>(6, 0));
  CHECK(ones<double>({2}).to_vector() == std::vector<double>{1, 1});
  CHECK(full<float>({2}, 2.5f).at(1) == 2.5f);
  CHECK(arange(0, 5).to_vector() == std::vector<float>{0, 1, 2, 3, 4});
  CHECK(arange<index_t>(3, 0, -1).to_vector() == std::vector<index_t>{3, 2, 1});
  CHECK(linspace<double>(0, 1, 5).to_vector() == std::vector<double>{0, 0.25, 0.5, 0.75, 1});
  CHECK(from_vector<float>({1, 2, 3, 4}, {2, 2}).at(1, 0) == 3);
  CHECK_THROWS_WITH_AS(from_vector<float>({1, 2, 3}, {2, 2}), doctest::Contains("takes 4 values"), Error);
  CHECK(zeros({0, 3}).numel() == 0);
}

TEST_CASE("random numbers depend on the seed only") {
  manual_seed(3);
  const auto a = randn<double>({1000}).to_vector(), b = randn<double>({1000}).to_vector();
  manual_seed(3);
  CHECK(randn<double>({1000}).to_vector() == a);
  CHECK(a != b);
  double mean = 0, square = 0;
  for (double v : a) mean += v / 1000, square += v * v / 1000;
  CHECK(std::abs(mean) < 0.15);
  CHECK(square == doctest::Approx(1).epsilon(0.15));
  for (float u : rand({1000}).to_vector()) CHECK((u >= 0 && u < 1));
}

TEST_CASE("copies share data; views share storage; clone does not") {
  auto x = from_vector<float>({1, 2, 3, 4, 5, 6}, {2, 3});
  auto y = x;
  y.fill_(7);
  CHECK(x.at(0, 0) == 7);
  auto row = x[1];
  row.fill_(1);
  CHECK(x.to_vector() == std::vector<float>{7, 7, 7, 1, 1, 1});
  auto z = x.clone();
  z.fill_(0);
  CHECK(x.at(0, 0) == 7);
}

TEST_CASE("views") {
  const auto x = arange(0, 24).reshape({2, 3, 4});
  CHECK(x.at(1, 2, 3) == 23);
  CHECK(x.at(-1, -1, -1) == 23);
  CHECK(x.transpose(0, 2).at(3, 2, 1) == 23);
  CHECK(x.permute({2, 0, 1}).shape() == Shape{4, 2, 3});
  CHECK(x.slice(1, 1, 3).shape() == Shape{2, 2, 4});
  CHECK(x.slice(2, 0, 4, 2).at(0, 0, 1) == 2);
  CHECK(x[1][2].to_vector() == std::vector<float>{20, 21, 22, 23});
  CHECK(x.transpose(1, 2).reshape({2, 12}).at(0, 1) == 4);
  CHECK(x.transpose(0, 1).reshape({3, 2, 2, 2}).impl().storage == x.impl().storage);
  CHECK_THROWS_WITH_AS(x.reshape({5, 5}), doctest::Contains("[2,3,4] of 24 elements cannot become [5,5]"), Error);
  CHECK_THROWS_WITH_AS(x.slice(1, 0, 9), doctest::Contains("does not fit axis 1"), Error);
  CHECK_THROWS_WITH_AS(x.at(0, 3, 0), doctest::Contains("outside shape"), Error);
  CHECK(unsqueeze(x, 1).shape() == Shape{2, 1, 3, 4});
  CHECK(squeeze(unsqueeze(x, -1), -1).shape() == x.shape());
}

TEST_CASE("arithmetic broadcasts, comparisons give 1 and 0") {
  const auto x = from_vector<float>({1, 2, 3, 4}, {2, 2});
  const auto row = from_vector<float>({10, 20}, {2});
  CHECK((x + row).to_vector() == std::vector<float>{11, 22, 13, 24});
  CHECK((x - 1).to_vector() == std::vector<float>{0, 1, 2, 3});
  CHECK((1 - x).to_vector() == std::vector<float>{0, -1, -2, -3});
  CHECK((2 / x).at(0, 1) == 1);
  CHECK((x > 2).to_vector() == std::vector<float>{0, 0, 1, 1});
  CHECK((x == row / 10).to_vector() == std::vector<float>{1, 1, 0, 0});
  CHECK(where(x > 2, x, -x).to_vector() == std::vector<float>{-1, -2, 3, 4});
  CHECK(maximum(x, 2).to_vector() == std::vector<float>{2, 2, 3, 4});
  CHECK(clamp(x, 2, 3).to_vector() == std::vector<float>{2, 2, 3, 3});
  CHECK_THROWS_WITH_AS(x + zeros({3}), doctest::Contains("[map] shapes [2,2] and [3] do not broadcast"), Error);
}

TEST_CASE("reductions and argmax") {
  const auto x = from_vector<double>({1, 5, 2, 9, 0, 9}, {2, 3});
  CHECK(sum(x).item() == 26);
  CHECK(sum(x, {0}).to_vector() == std::vector<double>{10, 5, 11});
  CHECK(mean(x, {1}).to_vector() == std::vector<double>{8.0 / 3, 6});
  CHECK(max(x, {1}).to_vector() == std::vector<double>{5, 9});
  CHECK(variance(x, {1}).at(0) == doctest::Approx(13.0 / 3));
  CHECK(argmax(x).to_vector() == std::vector<index_t>{1, 0});
  CHECK(argmax(x, 0).to_vector() == std::vector<index_t>{1, 0, 1});
  CHECK(sum(transpose(x, 0, 1), {1}).to_vector() == std::vector<double>{10, 5, 11});
}

TEST_CASE("conversion") {
  const auto x = from_vector<float>({1.0f, 3.14159274f, -1e30f}, {3});
  CHECK(x.to<double>().at(1) == static_cast<double>(3.14159274f));
  CHECK(static_cast<float>(x.to<bf16>().at(1)) == 3.140625f);
  CHECK(x.to<index_t>().at(0) == 1);
  CHECK(from_vector<index_t>({1, 2}, {2}).to<float>().at(1) == 2);
  CHECK(static_cast<float>(bf16(1.00390625f)) == 1.0f);       // a tie goes to the even neighbour
  CHECK(static_cast<float>(bf16(1.01171875f)) == 1.015625f);  // and here that is the upper one
  CHECK(std::isnan(static_cast<float>(bf16(std::nanf("")))));
  CHECK(std::isinf(static_cast<float>(bf16(3.4e38f))));
}

TEST_CASE("bf16 arithmetic goes through float") {
  const auto a = full<bf16>({1000}, bf16(1.0f)), b = full<bf16>({1000}, bf16(0.00390625f));
  CHECK(static_cast<float>(sum(a).item()) == 1000.0f);  // a running bf16 sum would stop at 256
  CHECK(static_cast<float>((a + b * 2).at(0)) == 1.0078125f);
  auto x = randn<bf16>({4, 8});
  x.requires_grad(true);
  backward(mean(square(x)));
  CHECK(x.grad().at(0, 0) == doctest::Approx(static_cast<float>(x.at(0, 0)) / 16).epsilon(0.01));
}

TEST_CASE("printing") {
  auto x = from_vector<float>({1, 2.5, -3, 4}, {2, 2});
  CHECK(to_string(x) == "tensor<float>[2,2] cpu\n[[1, 2.5],\n [-3, 4]]");
  x.requires_grad(true);
  CHECK(to_string(softmax(x)).starts_with("tensor<float>[2,2] cpu from softmax"));
  CHECK(to_string(arange<index_t>(0, 100)) == "tensor<int64>[100] cpu\n[0, 1, 2, …, 97, 98, 99]");
  CHECK(to_string(Tensor<float>{}) == "tensor (no value)");
}

TEST_CASE("an absent device says what to link") {
  CHECK_THROWS_WITH_AS(zeros({2}, Device::cuda), doctest::Contains("flr::cuda"), Error);
}

TEST_CASE("the pool keeps blocks and counts bytes") {
  const MemoryStats before = memory_stats();
  void* first;
  {
    auto x = zeros({1000});
    first = x.mutable_data();
    CHECK(memory_stats().active == before.active + Pool::rounded(4000));
  }
  auto y = zeros({1000});
  CHECK(y.mutable_data() == first);
  CHECK(memory_table().find("memory on cpu") != std::string::npos);
}
