// Formulas over broadcast tensors: out_j = formula_j(in…), or += .
//
// The formula prints itself, NVRTC compiles a kernel for its text, its storage type and the layout
// of its inputs (formula_source.hpp), and that kernel is launched with sizes, strides and scalars
// as arguments. Bound by memory: elements move in packs of 16 bytes wherever sizes and alignment
// allow. Inputs that no wanted output reads are not loaded; an input that is transposed against the
// output is put in order first.
#include <algorithm>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "formula_cache.hpp"
#include "formula_source.hpp"
#include "map_layout.hpp"
#include "table.hpp"

namespace flr::cuda {

namespace {

/// What the wanted outputs of a formula's type look like. Found out once a type: printing costs
/// more than a launch.
struct FormulaText {
  std::vector<int> wanted;
  std::vector<std::string> outputs;
  std::vector<int> scalars;
  std::vector<int> used;                                  ///< inputs, counted from 0
  std::unordered_map<std::string, cudaKernel_t> kernels;  ///< by layout

  std::string name() const {
    std::string text;
    for (const std::string& output : outputs) text += (text.empty() ? "" : ", ") + output;
    return text;
  }
};

std::mutex& text_mutex() {
  static std::mutex mutex;
  return mutex;
}

/// By the print function, of which every list of formula types has its own, and the outputs wanted.
FormulaText& text_of(const MapParams& p, int n_in) {
  using Print = decltype(FormulaTable::print);
  struct Key {
    Print print;
    unsigned outputs;
    bool operator==(const Key&) const = default;
  };
  struct Hash {
    std::size_t operator()(const Key& k) const {
      return std::hash<Print>()(k.print) * 31 + k.outputs;
    }
  };
  static auto* texts = new std::unordered_map<Key, std::unique_ptr<FormulaText>, Hash>;

  Key key{p.table->print, 0};
  for (int o = 0; o < p.n_out; ++o) key.outputs |= p.out[o] ? 1u << o : 0;
  std::unique_ptr<FormulaText>& text = (*texts)[key];
  if (text) return *text;
  auto made = std::make_unique<FormulaText>();
  for (int o = 0; o < p.n_out; ++o) {
    if (!p.out[o]) continue;
    made->wanted.push_back(o);
    made->outputs.push_back(p.table->print(p.formula, o));
    made->scalars.push_back(p.table->scalars(p.formula, o, nullptr));
  }
  for (int i = 0; i < n_in; ++i)
    if (std::ranges::any_of(made->outputs, [&](const auto& t) { return formula_uses(t, i + 1); }))
      made->used.push_back(i);
  text = std::move(made);
  return *text;
}

template <class T>
cudaKernel_t kernel_for(FormulaText& text, const MapLayout& layout) {
  std::string variant = {name_of(dtype_of<T>)[0], static_cast<char>('0' + layout.rank),
                         static_cast<char>('0' + layout.width), layout.wide ? 'w' : 'n'};
  for (std::size_t i = 0; i < text.used.size(); ++i) variant += layout.packed(i) ? 'p' : 's';
  cudaKernel_t& kernel = text.kernels[variant];
  if (kernel) return kernel;
  FormulaSpec spec;
  spec.storage = dtype_of<T>;
  spec.outputs = text.outputs;
  spec.scalars = text.scalars;
  for (std::size_t i = 0; i < text.used.size(); ++i)
    spec.inputs.push_back({text.used[i] + 1, layout.packed(i)});
  spec.rank = layout.rank;
  spec.width = layout.width;
  spec.wide = layout.wide;
  return kernel = formula_kernel(formula_source(spec), text.name());
}

/// The words of formula_source's FormulaArguments.
class ArgumentWords {
 public:
  void add(std::int64_t word) { words_[count_++] = word; }
  void add(const void* pointer) {
    add(static_cast<std::int64_t>(reinterpret_cast<std::intptr_t>(pointer)));
  }
  void* data() { return words_; }

 private:
  std::int64_t words_[max_map_inputs + max_map_outputs + 3 + (3 + max_map_inputs) * max_rank];
  std::size_t count_ = 0;
};

/// ⌊n / d⌋ = (umulhi(n, multiplier) + n) >> shift for n < 2³¹.
struct Divisor {
  std::int64_t multiplier = 0, shift = 0;
  explicit Divisor(index_t d) {
    if (d >= index_t{1} << 31) return;  // 64-bit indices, which divide
    while (index_t{1} << shift < d) ++shift;
    multiplier = ((index_t{1} << 32) * ((index_t{1} << shift) - d)) / d + 1;
  }
};

template <class T>
void launch(const MapParams& p, FormulaText& text, const MapLayout& layout, const void* const* in,
            index_t elements) {
  ArgumentWords words;
  const std::size_t used = text.used.size();
  const index_t packs = elements / layout.width;
  std::int64_t add = 0;
  for (std::size_t i = 0; i < used; ++i) words.add(in[i]);
  for (std::size_t o = 0; o < text.wanted.size(); ++o) {
    words.add(p.out[text.wanted[o]]);
    add |= std::int64_t{p.accumulate[text.wanted[o]]} << o;
  }
  words.add(packs), words.add(elements), words.add(add);
  if (layout.rank > 1) {
    const auto extent = [&](int axis) {
      return axis == layout.rank - 1 ? layout.extent[axis] / layout.width : layout.extent[axis];
    };
    for (int a = 0; a < layout.rank; ++a) words.add(extent(a));
    for (int a = 0; a < layout.rank; ++a) words.add(Divisor(extent(a)).multiplier);
    for (int a = 0; a < layout.rank; ++a) words.add(Divisor(extent(a)).shift);
  }
  for (std::size_t i = 0; i < used; ++i)
    for (int a = 0; a < layout.rank; ++a)
      words.add(layout.strides[i][static_cast<std::size_t>(a)] *
                (a == layout.rank - 1 ? layout.width : 1));

  std::vector<double> values;
  std::vector<compute_t<T>> scalars;
  for (std::size_t o = 0; o < text.wanted.size(); ++o) {
    values.resize(static_cast<std::size_t>(text.scalars[o]));
    p.table->scalars(p.formula, text.wanted[o], values.data());
    for (double v : values) scalars.push_back(static_cast<compute_t<T>>(v));
  }
  check(scalars.size() <= 256, "[map] a formula has at most 256 scalars; got {}", scalars.size());

  void* arguments[] = {words.data(), scalars.data()};
  const index_t blocks =
      std::clamp<index_t>(ceil_div(packs, formula_threads), 1, index_t{multiprocessors()} * 64);
  check_cuda(cudaLaunchKernel(reinterpret_cast<const void*>(kernel_for<T>(text, layout)),
                              dim3(static_cast<unsigned>(blocks)), dim3(formula_threads), arguments,
                              0, stream()),
             "map");
  check_launch("map");
}

}  // namespace

template <class T>
void map(const MapParams& p) {
  const index_t n = p.shape.numel();
  if (n == 0) return;
  check(p.table->print && p.table->scalars,
        "[map] the formula's table does not print its formulas");
  std::lock_guard lock(text_mutex());
  FormulaText& text = text_of(p, p.n_in);
  if (text.wanted.empty()) return;

  const void* in[max_map_inputs] = {};
  std::vector<const Shape*> strides;
  for (std::size_t i = 0; i < text.used.size(); ++i) {
    in[i] = p.in[text.used[i]];
    strides.push_back(&p.in_strides[text.used[i]]);
  }
  MapLayout layout(p.shape, strides);

  // copy() transposes in tiles; below this size the reads stay in the second-level cache.
  std::optional<Scratch<T>> ordered[max_map_inputs];
  const Shape dense = contiguous_strides(p.shape);
  bool moved = false;
  for (std::size_t i = 0; i < text.used.size() && n > 65536; ++i) {
    if (!layout.scattered(i)) continue;
    ordered[i].emplace(n);
    copy(CopyParams<T>{p.shape, *strides[i], dense, static_cast<const T*>(in[i]),
                       ordered[i]->data()});
    in[i] = ordered[i]->data();
    strides[i] = &dense;
    moved = true;
  }
  if (moved) layout = MapLayout(p.shape, strides);

  std::vector<const void*> pointers(in, in + text.used.size());
  for (int o : text.wanted) pointers.push_back(p.out[o]);
  layout.choose_width(16 / static_cast<int>(sizeof(T)), static_cast<int>(sizeof(T)), pointers);
  launch<T>(p, text, layout, in, n);
}

template void map<float>(const MapParams&);
template void map<double>(const MapParams&);
template void map<bf16>(const MapParams&);

}  // namespace flr::cuda
