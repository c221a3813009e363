#include "formula_source.hpp"

#include <cctype>

#include "flr/core/error.hpp"
#include "formula_words.hpp"

namespace flr::cuda {

namespace {

/// Storage type T, compute type C, and packs of W elements between memory and C[W].
const char* storage_text(DType storage) {
  switch (storage) {
    case DType::f32: return "typedef float T;\ntypedef float C;\n";
    case DType::f64: return "typedef double T;\ntypedef double C;\n";
    default: return "struct T { unsigned short bits; };\ntypedef float C;\n";
  }
}

constexpr const char plain_packs[] = R"(
template <int W> struct alignas(W * sizeof(T)) Pack { T v[W]; };
template <int W> __device__ inline void load(const T* at, C (&x)[W]) {
  const Pack<W> p = *reinterpret_cast<const Pack<W>*>(at);
  for (int e = 0; e < W; ++e) x[e] = p.v[e];
}
template <int W> __device__ inline void store(T* at, const C (&y)[W]) {
  Pack<W> p;
  for (int e = 0; e < W; ++e) p.v[e] = y[e];
  *reinterpret_cast<Pack<W>*>(at) = p;
}
)";

constexpr const char bf16_packs[] = R"(
template <int W> struct alignas(4 * W) Words { unsigned v[W]; };
template <int W> __device__ inline void load(const T* at, C (&x)[W]) {
  if constexpr (W == 1) {
    x[0] = __uint_as_float(unsigned(at->bits) << 16);
  } else {
    const Words<W / 2> p = *reinterpret_cast<const Words<W / 2>*>(at);
    for (int e = 0; e < W / 2; ++e) {
      x[2 * e] = __uint_as_float(p.v[e] << 16);
      x[2 * e + 1] = __uint_as_float(p.v[e] & 0xffff0000u);
    }
  }
}
template <int W> __device__ inline void store(T* at, const C (&y)[W]) {
  if constexpr (W == 1) {
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(at->bits) : "f"(y[0]));
  } else {
    Words<W / 2> p;
    for (int e = 0; e < W / 2; ++e)
      asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(p.v[e]) : "f"(y[2 * e + 1]), "f"(y[2 * e]));
    *reinterpret_cast<Words<W / 2>*>(at) = p;
  }
}
)";

constexpr const char common_packs[] = R"(
template <int W> __device__ inline void spread(const T* at, C (&x)[W]) {
  C one[1];
  load<1>(at, one);
  for (int e = 0; e < W; ++e) x[e] = one[0];
}
template <int W> __device__ inline void put(T* at, C (&y)[W], bool add) {
  if (add) {
    C old[W];
    load<W>(at, old);
    for (int e = 0; e < W; ++e) y[e] += old[e];
  }
  store<W>(at, y);
}
)";

std::string number(std::size_t n) {
  return std::to_string(n);
}

/// Indices I, offsets O, and the kernel's arguments.
std::string argument_text(const FormulaSpec& spec, std::size_t scalars) {
  const std::size_t inputs = spec.inputs.size(), outputs = spec.outputs.size();
  const std::string rank = std::to_string(spec.rank);
  std::string text =
      spec.wide
          ? "typedef unsigned long long I;\ntypedef long long O;\n"
            "#define DIVIDE(n, axis) ((n) / I(a.extent[axis]))\n"
          // Exact for n below 2^31 (Granlund and Montgomery 1994).
          : "typedef unsigned I;\ntypedef int O;\n"
            "#define DIVIDE(n, axis) "
            "((__umulhi(n, unsigned(a.multiplier[axis])) + (n)) >> unsigned(a.shift[axis]))\n";
  text += "struct Args {\n";
  if (inputs > 0) text += "  const T* in[" + number(inputs) + "];\n";
  text += "  T* out[" + number(outputs) + "];\n  long long packs, elements, add;\n";
  if (spec.rank > 1) {
    text += "  long long extent[" + rank + "], multiplier[" + rank + "], shift[" + rank + "];\n";
  }
  if (inputs > 0) text += "  long long stride[" + number(inputs) + "][" + rank + "];\n";
  text += "};\nstruct Scalars { C v[" + number(scalars > 0 ? scalars : 1) + "]; };\n";
  return text;
}

/// One pack: loads, the formula on each element, stores.
std::string step_text(const FormulaSpec& spec) {
  std::string text =
      "template <int W>\n"
      "__device__ inline void step(const Args& a, const Scalars& s, I at, const O* from) {\n";
  for (std::size_t i = 0; i < spec.inputs.size(); ++i) {
    const std::string name = "in" + std::to_string(spec.inputs[i].placeholder);
    text += "  C " + name + "[W];\n  " + (spec.inputs[i].packed ? "load" : "spread") + "<W>(a.in[" +
            number(i) + "] + from[" + number(i) + "], " + name + ");\n";
  }
  for (std::size_t o = 0; o < spec.outputs.size(); ++o) text += "  C y" + number(o) + "[W];\n";
  text += "#pragma unroll\n  for (int e = 0; e < W; ++e) {\n";
  for (const FormulaInput& input : spec.inputs) {
    const std::string name = std::to_string(input.placeholder);
    text += "    const V x" + name + "(in" + name + "[e]);\n";
  }
  int first = 0;
  for (std::size_t o = 0; o < spec.outputs.size(); ++o) {
    text += "    {\n";
    for (int k = 0; k < spec.scalars[o]; ++k)
      text += "      S s" + std::to_string(k) + "(s.v[" + std::to_string(first + k) + "]);\n";
    first += spec.scalars[o];
    text += "      y" + number(o) + "[e] = V(" + spec.outputs[o] + ").v;\n    }\n";
  }
  text += "  }\n";
  for (std::size_t o = 0; o < spec.outputs.size(); ++o)
    text += "  put<W>(a.out[" + number(o) + "] + at, y" + number(o) + ", a.add >> " + number(o) +
            " & 1);\n";
  return text + "}\n";
}

/// Where the inputs of pack p lie.
std::string offset_text(const FormulaSpec& spec) {
  const int rank = spec.rank;
  std::string text;
  if (rank > 1) {
    text += "    I rest = p;\n";
    for (int axis = rank - 1; axis > 0; --axis) {
      const std::string k = std::to_string(axis);
      text += "    const I q" + k + " = DIVIDE(rest, " + k + "), at" + k + " = rest - q" + k +
              " * I(a.extent[" + k + "]);\n    rest = q" + k + ";\n";
    }
    text += "    const I at0 = rest;\n";
  } else {
    text += "    const I at0 = p;\n";
  }
  std::string list;
  for (std::size_t i = 0; i < spec.inputs.size(); ++i) {
    list += i ? ", O(" : "O(";
    for (int axis = 0; axis < rank; ++axis) {
      const std::string k = std::to_string(axis);
      list += (axis ? " + at" : "at") + k + " * I(a.stride[" + number(i) + "][" + k + "])";
    }
    list += ")";
  }
  text += "    const O from[] = {" + (list.empty() ? "0" : list);
  return text + "};\n";
}

}  // namespace

bool formula_uses(const std::string& text, int placeholder) {
  const std::string name = "x" + std::to_string(placeholder);
  const auto part_of_word = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0; };
  for (std::size_t at = text.find(name); at != std::string::npos; at = text.find(name, at + 1)) {
    const std::size_t end = at + name.size();
    if ((at == 0 || !part_of_word(text[at - 1])) &&
        (end == text.size() || !part_of_word(text[end])))
      return true;
  }
  return false;
}

std::string formula_source(const FormulaSpec& spec) {
  std::size_t scalars = 0;
  for (int count : spec.scalars) scalars += static_cast<std::size_t>(count);
  const std::string width = std::to_string(spec.width), threads = std::to_string(formula_threads);
  std::string text = std::string("namespace flr {\n") + storage_text(spec.storage);
  text += spec.storage == DType::bf16 ? bf16_packs : plain_packs;
  text += common_packs;
  text += formula_words;
  text += argument_text(spec, scalars) + step_text(spec);
  text += std::string("extern \"C\" __global__ void __launch_bounds__(") + threads + ") " +
          formula_kernel_name + "(const Args a" +
          (scalars > 0 ? ", const Scalars s) {\n" : ") {\n  const Scalars s{};\n");
  text += "  const I thread = blockIdx.x * I(" + threads + ") + threadIdx.x;\n";
  text += "  for (I p = thread; p < I(a.packs); p += gridDim.x * I(" + threads + ")) {\n";
  text += offset_text(spec);
  text += "    step<" + width + ">(a, s, p * " + width + ", from);\n  }\n";
  if (spec.rank == 1 && spec.width > 1) {
    // What the last pack leaves over.
    std::string list;
    for (const FormulaInput& input : spec.inputs)
      list += std::string(list.empty() ? "" : ", ") + (input.packed ? "O(at)" : "O(0)");
    text += "  const I at = I(a.packs) * " + width + " + thread;\n  if (at < I(a.elements)) {\n";
    text += "    const O from[] = {" + (list.empty() ? "0" : list);
    text += "};\n    step<1>(a, s, at, from);\n  }\n";
  }
  return text + "}\n}\n";
}

}  // namespace flr::cuda
