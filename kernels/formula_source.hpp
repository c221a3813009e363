// A formula's kernel as CUDA C++ text, for the run-time compiler. Plain host code: needs no GPU.
#pragma once

#include <string>
#include <vector>

#include "flr/core/scalar.hpp"

namespace flr::cuda {

/// The name of the kernel in every source made here.
inline constexpr const char* formula_kernel_name = "flr_map";
inline constexpr int formula_threads = 256;

/// One input of a formula's kernel.
struct FormulaInput {
  int placeholder = 1;  ///< I of _I
  bool packed = true;   ///< neighbouring elements lie side by side; else a pack has one value of it
};

/// Everything that the text of a kernel depends on. Sizes, strides and scalars are not in it.
struct FormulaSpec {
  DType storage = DType::f32;
  std::vector<std::string> outputs;  ///< as FormulaTable::print gives them
  std::vector<int> scalars;          ///< their number in each output
  std::vector<FormulaInput> inputs;  ///< those that the outputs use
  int rank = 1;                      ///< axes that are left after merging, at least 1
  int width = 1;                     ///< elements in a pack along the last axis: 1, 2, 4 or 8
  bool wide = false;                 ///< 64-bit indices
};

/// The kernel takes a FormulaArguments block and, if there are scalars, an array of them, in order,
/// in the compute type.
///
/// The block is a sequence of 8-byte words: inputs, outputs, packs, elements, the mask of outputs
/// to add to, then for ranks above 1 extent, multiplier and shift of each axis (the last in packs),
/// and the strides of each input by axis (the last counts packs).
std::string formula_source(const FormulaSpec& spec);

/// Whether `text` reads placeholder I.
bool formula_uses(const std::string& text, int placeholder);

}  // namespace flr::cuda
