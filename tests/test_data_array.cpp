// The array that files are read into: conversions that keep values, shapes that agree.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "flr/data/array.hpp"

using namespace flr;
using namespace flr::data;

namespace {

// 0, 1, … as `scale` and `shift` make them, in row-major order of [2,3,4].
template <class T>
Array grid(double scale = 1, double shift = 0) {
  std::vector<T> values;
  for (int i = 0; i < 24; ++i) values.push_back(static_cast<T>(i * scale + shift));
  return Array(values, {2, 3, 4});
}

template <class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("array: conversion keeps values or refuses") {
  CHECK(grid<float>().convert<double>() == grid<double>().convert<double>());
  CHECK(grid<double>(1, -12).convert<std::int64_t>()[0] == -12);
  CHECK_THROWS_AS(grid<double>(0.5).convert<std::int64_t>(), Error);
  CHECK_THROWS_AS(grid<double>(1, -12).convert<std::uint8_t>(), Error);
  CHECK_THROWS_AS(Array(std::vector<double>{1e300}, {1}).convert<float>(), Error);
  CHECK_THROWS_AS(Array(std::vector<double>{NAN}, {1}).convert<std::int64_t>(), Error);
  CHECK_THROWS_AS(Array(std::vector<double>{9223372036854775808.0}, {1}).convert<std::int64_t>(),
                  Error);
  CHECK(Array(std::vector<double>{-9223372036854775808.0}, {1}).convert<std::int64_t>()[0] ==
        std::numeric_limits<std::int64_t>::min());
  CHECK(std::isinf(Array(std::vector<double>{INFINITY}, {1}).convert<float>()[0]));
  CHECK(std::isnan(Array(std::vector<double>{NAN}, {1}).convert<float>()[0]));
  CHECK(grid<std::int32_t>().convert(ElementType::bf16).convert<float>() ==
        grid<float>().convert<float>());
  CHECK(grid<float>().convert(ElementType::boolean).as<std::uint8_t>()[5] == 1);
  CHECK(message_of([] { (void)grid<double>(0.5).convert<std::int64_t>(); }) ==
        "[array] element 1 is 0.5; int64 cannot hold it");
}

TEST_CASE("array: shapes") {
  const Array a = grid<float>();
  CHECK(a.extent(-1) == 4);
  CHECK(a.rows(1, 2).as<float>()[0] == 12);
  CHECK(a.reshaped({6, 4}).shape() == std::vector<std::int64_t>{6, 4});
  CHECK_THROWS_AS(a.reshaped({5, 4}), Error);
  CHECK_THROWS_AS(a.rows(1, 3), Error);
  CHECK_THROWS_AS(a.as<double>(), Error);
  CHECK_THROWS_AS(Array(std::vector<float>{1, 2}, {3}), Error);
  CHECK_THROWS_AS(Array(ElementType::f32, {-1}), Error);
  CHECK_THROWS_AS(Array(ElementType::f32, {1LL << 40, 1LL << 40}), Error);
  CHECK_THROWS_AS(Array(ElementType::f32, {0, 1LL << 40, 1LL << 40}), Error);
  CHECK_THROWS_AS(Array(ElementType::f64, {1LL << 60}), Error);
}
