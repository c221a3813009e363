// Formulas as CUDA C++: every word, every derivative and every layout compiles for compute
// capability 8.0 and 9.0. NVRTC needs no GPU, so neither does this file.
#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "flr/core/error.hpp"
#include "flr/formula/derivative.hpp"
#include "flr/formula/print.hpp"
#include "formula_cache.hpp"
#include "formula_source.hpp"
#include "map_layout.hpp"

namespace flr::cuda {
namespace {

namespace fs = std::filesystem;
using namespace formula;

/// Formulas gathered in one kernel: compiling is dear, and one that fails is named by its text.
struct Formulas {
  FormulaSpec spec;

  template <IsFormula F>
  void add(const F& f) {
    spec.outputs.push_back(print(f));
    spec.scalars.push_back(scalars(f, nullptr));
  }
  /// A formula and its derivatives by the first three placeholders, times the gradient.
  template <IsFormula F>
  void add_all(const F& f) {
    add(f);
    add(call<Binary::mul>(derivative<1>(f), Arg<10>{}));
    add(call<Binary::mul>(derivative<2>(f), Arg<10>{}));
    add(call<Binary::mul>(derivative<3>(f), Arg<10>{}));
  }

  void compile(DType storage) {
    spec.storage = storage;
    spec.width = 16 / static_cast<int>(size_of(storage));
    spec.inputs.clear();
    for (int i = 1; i <= 10; ++i)
      for (const std::string& text : spec.outputs)
        if (formula_uses(text, i)) {
          spec.inputs.push_back({i, i != 2});
          break;
        }
    for (int architecture : {80, 90})
      CHECK(compile_formula_for(formula_source(spec), architecture).size() > 1000);
  }
};

void in_every_type(Formulas f) {
  for (DType storage : {DType::f32, DType::f64, DType::bf16}) {
    CAPTURE(name_of(storage));
    f.compile(storage);
  }
}

TEST_CASE("unary words and their slopes compile") {
  Formulas f;
  [&]<int... I>(std::integer_sequence<int, I...>) {
    (f.add(call<static_cast<Unary>(I)>(_1)), ...);
  }
  (std::make_integer_sequence<int, static_cast<int>(Unary::count)>{});
  in_every_type(f);

  Formulas slopes;
  [&]<class... F>(F... formulas) {
    (slopes.add(call<Binary::mul>(derivative<1>(formulas), _2)), ...);
  }(-_1, abs(_1), sign(_1), exp(_1), log(_1), sqrt(_1), rsqrt(_1), square(_1), reciprocal(_1),
    sin(_1), cos(_1), tanh(_1), erf(_1), sigmoid(_1), relu(_1), elu(_1), softplus(_1), silu(_1),
    gelu(_1), gelu_tanh(_1));
  in_every_type(slopes);
}

TEST_CASE("binary words, where and their derivatives compile") {
  Formulas f;
  f.add_all(_1 + _2);
  f.add_all(_1 - 2.0 * _2);
  f.add_all(_1 * _2 + _3);
  f.add_all(_1 / _2);
  f.add_all(min(_1, _2));
  f.add_all(max(max(_1, -1.0), _3));
  f.add_all(pow(_1, _2));
  f.add_all(pow(_1, 3));
  f.add_all(pow(2.0, _1));
  in_every_type(f);

  Formulas g;
  g.add_all((_1 < _2) + (_1 <= _2) + (_1 > _2) - (_1 >= 0.5) * (_1 == _2) / (_1 != _3));
  g.add_all(where(_1 > 0.0, _1, 0.0));
  g.add_all(where(_1 > 0.0, 1, _2));
  g.add_all(where(_1 < _2, 1.5, 2.5));
  g.add_all(sqrt(_1 > _2) + exp(-(_1 < _3)));
  g.add(derivative<1>(_1) / derivative<1>(_1 + _1));
  in_every_type(g);
}

TEST_CASE("composed formulas compile") {
  Formulas f;
  f.add_all(silu(_1) * _2 + _3);
  f.add_all(softplus(_1) - _1 * _2);
  f.add_all(gelu_tanh(_1 * _2 + _3) * tanh(_2));
  f.add_all(where(_1 >= 0.5, pow(abs(_2), max(_1, 1.5)), 2.5));
  f.add_all(where(_1 == _2, pow(abs(_1), 1.5), sin(_3) / (1.0 + square(_2))));
  f.add_all(_1 / (sqrt(_2) + 1e-7));
  in_every_type(f);
}

TEST_CASE("every layout compiles") {
  for (DType storage : {DType::f32, DType::bf16})
    for (int rank : {1, 2, 3, 8})
      for (int width : {1, 2, 16 / static_cast<int>(size_of(storage))})
        for (bool wide : {false, true}) {
          if (rank == 8 && width == 2) continue;
          FormulaSpec spec;
          spec.storage = storage;
          spec.rank = rank, spec.width = width, spec.wide = wide;
          spec.outputs = {"(x1 + (s0 * x3))", "exp(x3)"};
          spec.scalars = {1, 0};
          spec.inputs = {{1, true}, {3, false}};
          CHECK_FALSE(compile_formula_for(formula_source(spec), 90).empty());
        }
  FormulaSpec none;  // a derivative that vanishes reads nothing
  none.outputs = {"0.0"}, none.scalars = {0}, none.width = 4;
  CHECK_FALSE(compile_formula_for(formula_source(none), 80).empty());
}

TEST_CASE("scalars come in the order of the text") {
  const auto f = where(_1 > 0.25, _1 * 3.0 + 4.0, pow(_2 - 5.0, 6.0));
  CHECK(print(f) == "((x1 > s0) != 0 ? ((x1 * s1) + s2) : pow((x2 - s3), s4))");
  double values[5] = {};
  CHECK(scalars(f, values) == 5);
  CHECK(std::vector<double>(values, values + 5) == std::vector<double>{0.25, 3, 4, 5, 6});
}

TEST_CASE("placeholders are found as whole words") {
  CHECK(formula_uses("max(x1, s0)", 1));
  CHECK_FALSE(formula_uses("max(x10, exp(x2))", 1));
  CHECK(formula_uses("(x10 * x1)", 1));
}

TEST_CASE("what does not compile is named") {
  FormulaSpec spec;
  spec.outputs = {"nothing(x1)"}, spec.scalars = {0}, spec.inputs = {{1, true}};
  CHECK_THROWS_WITH_AS(
      compile_formula_for(formula_source(spec), 80, "nothing(x1)"),
      doctest::Contains("[map] the formula nothing(x1) does not compile: formula.cu"), Error);
}

TEST_CASE("the cache on disk survives damage") {
  const fs::path folder = fs::temp_directory_path() / "flr_test_cuda_formulas";
  fs::remove_all(folder);
  const char* before = std::getenv("FLR_CACHE");
  const std::string kept = before ? before : "";
  setenv("FLR_CACHE", folder.c_str(), 1);
  FormulaSpec spec;
  spec.outputs = {"(x1 * x1)"}, spec.scalars = {0}, spec.inputs = {{1, true}};
  const std::string source = formula_source(spec), code = cached_formula_for(source, 80);
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) files.push_back(entry.path());
  REQUIRE(files.size() == 1);
  const auto size = fs::file_size(files[0]);
  CHECK(cached_formula_for(source, 80) == code);

  fs::resize_file(files[0], size / 2);
  CHECK(cached_formula_for(source, 80) == code);
  CHECK(fs::file_size(files[0]) == size);
  {
    std::fstream file(files[0], std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(size / 2));
    file.put('#').put('!').put('#');
  }
  CHECK(cached_formula_for(source, 80) == code);
  CHECK(cached_formula_for(source, 90) != code);

  setenv("FLR_CACHE", "off", 1);
  fs::remove_all(folder);
  CHECK(cached_formula_for(source, 80) == code);
  CHECK_FALSE(fs::exists(folder));
  before ? setenv("FLR_CACHE", kept.c_str(), 1) : unsetenv("FLR_CACHE");
}

TEST_CASE("axes merge and packs fit") {
  const Shape shape{4, 6, 8}, dense{48, 8, 1}, row{0, 0, 1}, column{6, 1, 0}, none{0, 0, 0};
  alignas(16) static const float data[1] = {};
  const auto layout = [&](std::vector<const Shape*> strides) {
    MapLayout l(shape, strides);
    l.choose_width(4, 4, std::vector<const void*>(strides.size() + 1, data));
    return l;
  };
  CHECK(layout({&dense, &none}).rank == 1);
  CHECK(layout({&dense, &none}).width == 4);
  CHECK(layout({&dense, &row}).rank == 2);
  CHECK(layout({&dense, &row, &column}).rank == 2);
  CHECK(layout({&dense, &row, &column}).width == 4);
  CHECK(layout({&dense, &row, &column}).extent[0] == 24);
  const Shape transposed{1, 4, 24};
  CHECK(layout({&dense, &transposed}).width == 1);
  CHECK(layout({&dense, &transposed}).scattered(1));
  const Shape vast{index_t{1} << 31};
  CHECK(MapLayout(vast, {}).wide);
}

}  // namespace
}  // namespace flr::cuda
