// Recording: how an operation attaches its gradient function to its result.
//
//   Tensor<T> y = …compute…;
//   record("softmax", {y}, {x}, [y = save(y)](Backward& b) { … b.target<T>(0) … });
#pragma once

#include <algorithm>
#include <exception>
#include <initializer_list>
#include <numeric>
#include <optional>

#include "flr/graph/node.hpp"

namespace flr {

/// A tensor kept for backward: a detached handle, so that it owns no part of the graph, and the
/// version it had.
template <class T>
class Saved {
 public:
  Saved() = default;
  explicit Saved(const Tensor<T>& x)
      : tensor_(x.defined() ? x.detach() : x), version_(x.defined() ? version() : 0) {}

  /// The tensor; an error if it was changed in place since it was saved.
  const Tensor<T>& get(const char* operation) const {
    if (tensor_.defined())
      check(version() == version_,
            "[{}] a tensor of shape {} that backward needs was changed in place after it was used",
            operation, tensor_.shape());
    return tensor_;
  }

 private:
  std::uint32_t version() const { return tensor_.impl().storage->version(); }
  Tensor<T> tensor_;
  std::uint32_t version_ = 0;
};

template <class T>
Saved<T> save(const Tensor<T>& x) {
  return Saved<T>(x);
}

/// The destination of one gradient: where to write, and whether to add. Hold it until the values
/// are written.
template <class T>
class GradTarget {
 public:
  GradTarget() = default;
  /// Memory of the slot itself, on loan until this goes.
  GradTarget(ImplPtr memory, GradMode mode, Node& node, int slot)
      : tensor_(std::move(memory)), mode_(mode), node_(&node), slot_(slot), direct_(true) {
    node.loaned(slot) = true;
  }
  /// Memory apart, which is added to the slot when this goes: the slot has another dtype, or is on
  /// loan already (an operation that takes the same tensor twice).
  GradTarget(Tensor<T> apart, Node& node, int slot)
      : tensor_(std::move(apart)), mode_(GradMode::overwrite), node_(&node), slot_(slot) {}
  GradTarget(GradTarget&& other) noexcept
      : tensor_(std::move(other.tensor_)), mode_(other.mode_),
        node_(std::exchange(other.node_, nullptr)), slot_(other.slot_), direct_(other.direct_) {}
  GradTarget& operator=(GradTarget&&) = delete;
  ~GradTarget() noexcept(false);

  GradMode mode() const { return mode_; }
  bool wanted() const { return mode_ != GradMode::ignore; }
  bool accumulate() const { return mode_ == GradMode::accumulate; }
  /// Memory of the input's shape, contiguous unless target_as was given strides; null when the
  /// gradient is not wanted.
  T* data() { return wanted() ? tensor_.mutable_data() : nullptr; }
  Tensor<T>& tensor() { return tensor_; }

 private:
  Tensor<T> tensor_;
  GradMode mode_ = GradMode::ignore;
  Node* node_ = nullptr;
  int slot_ = 0;
  bool direct_ = false;
  int exceptions_ = std::uncaught_exceptions();
};

namespace detail {

/// Calls f with the typed handle of an untyped one.
template <class F>
decltype(auto) visit_floating(const ImplPtr& impl, F&& f) {
  switch (impl->dtype) {
    case DType::f64: return f(Tensor<double>(impl));
    case DType::bf16: return f(Tensor<bf16>(impl));
    default: return f(Tensor<float>(impl));
  }
}

/// y = x in another type; both contiguous.
template <Floating T, Floating U>
void convert_into(const Tensor<T>& x, Tensor<U>& y) {
  const auto& table = backend<T>(x.device());
  if constexpr (std::same_as<U, float>) table.to_f32(x.data(), y.mutable_data(), x.numel());
  else if constexpr (std::same_as<U, double>) table.to_f64(x.data(), y.mutable_data(), x.numel());
  else table.to_bf16(x.data(), y.mutable_data(), x.numel());
}
template <Floating T, Floating U>
Tensor<U> convert(const Tensor<T>& x) {
  if constexpr (std::same_as<T, U>) {
    return x;
  } else {
    auto y = Tensor<U>::empty(x.shape(), x.device());
    convert_into(x.is_contiguous() ? x : x.clone(), y);
    return y;
  }
}

/// dst += src, or with `accumulate` false dst = src; of the same shape.
template <Floating T>
void put_in_place(Tensor<T>& dst, const Tensor<T>& src, bool accumulate) {
  CopyParams<T> p{dst.shape(), broadcast_strides(src.shape(), src.strides(), dst.shape()),
                  dst.strides(), src.data(), dst.mutable_data(), accumulate};
  backend<T>(dst.device()).copy(p);
}
template <Floating T>
void add_in_place(Tensor<T>& dst, const Tensor<T>& src) {
  put_in_place(dst, src, true);
}

/// Strides of dense memory of this shape whose axes lie in the order of other strides, but for the
/// last one, which is always contiguous: kernels read rows.
inline Shape strides_ordered_as(const Shape& shape, const Shape& strides) {
  std::vector<int> order(static_cast<std::size_t>(shape.rank()));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end() - (order.empty() ? 0 : 1),
                   [&](int a, int b) { return strides[a] > strides[b]; });
  Shape result = shape;
  index_t stride = 1;
  for (std::size_t i = order.size(); i-- > 0; stride *= shape[order[i]]) result[order[i]] = stride;
  return result;
}

/// Puts one contribution into a node's slot. A handle that others share is never written to.
template <Floating G>
void contribute(Node& node, int slot, Tensor<G> g) {
  ImplPtr& held = node.gradient(slot);
  if (!held) {
    // What comes next is added to a leaf's gradient in place: it must be memory of its own.
    if (node.is_leaf() && (!g.is_contiguous() || g.ptr()->storage.use_count() > 1)) g = g.clone();
    held = g.detach().ptr();
    node.mark_written(slot);
    return;
  }
  Tensor<G> sum(held);
  if (node.stale(slot)) {
    sum.copy_(g);
  } else if (node.is_leaf() || (held.use_count() <= 2 && held->storage.use_count() == 1 &&
                                held->is_contiguous())) {
    add_in_place(sum, g);
  } else {
    Tensor<G> fresh = sum.clone();
    add_in_place(fresh, g);
    held = fresh.ptr();
  }
  node.mark_written(slot);
}

template <Floating U, Floating T>
void convert_and_contribute(Node& node, int slot, const Tensor<T>& g) {
  if constexpr (!std::same_as<T, U>) {
    // The first contribution to a leaf of another type goes to its place at once.
    ImplPtr& held = node.gradient(slot);
    if (held && node.stale(slot) && held->is_contiguous() && g.is_contiguous()) {
      Tensor<U> place(held);
      convert_into(g, place);
      node.mark_written(slot);
      return;
    }
  }
  contribute(node, slot, convert<T, U>(g));
}
template <Floating T>
void contribute_as(Node& node, int slot, const Tensor<T>& g) {
  switch (node.outputs()[static_cast<std::size_t>(slot)].dtype) {
    case DType::f64: return convert_and_contribute<double>(node, slot, g);
    case DType::bf16: return convert_and_contribute<bf16>(node, slot, g);
    default: return convert_and_contribute<float>(node, slot, g);
  }
}

}  // namespace detail

template <class T>
GradTarget<T>::~GradTarget() noexcept(false) {
  if (!node_) return;
  if (direct_) node_->loaned(slot_) = false;
  // While an error is on its way the values were never written, and a second error would end the
  // program instead of reaching anyone.
  else if (std::uncaught_exceptions() == exceptions_) detail::contribute_as(*node_, slot_, tensor_);
}

/// What a node's gradient function sees: the gradients of its outputs and the places for those of
/// its inputs.
class Backward {
 public:
  explicit Backward(Node& node) : node_(node) {}

  /// The gradient of an output, contiguous; zeros if nothing depended on it.
  template <Floating T>
  Tensor<T> grad(int output = 0) {
    ImplPtr& g = node_.gradient(output);
    const OutputInfo& info = node_.outputs()[static_cast<std::size_t>(output)];
    if (!g) return zeros<T>(info.shape, info.device);
    return detail::visit_floating(g, [](auto t) {
      using U = typename decltype(t)::value_type;
      Tensor<T> y = detail::convert<U, T>(t);
      return y.is_contiguous() ? y : y.clone();
    });
  }
  /// The same with whatever strides it arrived with.
  template <Floating T>
  Tensor<T> grad_strided(int output = 0) {
    ImplPtr& g = node_.gradient(output);
    if (g && g->dtype == dtype_of<T>) return Tensor<T>(g);
    return grad<T>(output);
  }

  bool has_grad(int output) { return node_.gradient(output) != nullptr; }

  /// Whether the gradient of an input is wanted.
  bool wants(int input) const {
    return node_.inputs()[static_cast<std::size_t>(input)].node != nullptr;
  }

  /// The place for the gradient of an input: memory of the input's shape, and whether to add.
  template <Floating T>
  GradTarget<T> target(int input) {
    return target_in<T>(input, nullptr);
  }
  /// The same with the axes in memory in the order that `like`, of the input's shape, has them: a
  /// view's gradient is then a view of its base's gradient. For kernels that take strides.
  template <Floating T>
  GradTarget<T> target_as(int input, const Tensor<T>& like) {
    return target_in<T>(input, &like.strides());
  }

  /// Whether the gradient of an input, of an operation and in T, has no place yet.
  template <Floating T>
  bool has_no_place(int input) {
    const Edge& edge = node_.inputs()[static_cast<std::size_t>(input)];
    return edge.node && !edge.node->is_leaf() && !edge.node->gradient(edge.slot) &&
           !edge.node->loaned(edge.slot) &&
           edge.node->outputs()[static_cast<std::size_t>(edge.slot)].dtype == dtype_of<T>;
  }
  /// The same as target in memory that the caller proposes, of the input's shape and in any layout: taken
  /// where the gradient has no place yet. Others may have parts of the same memory.
  template <Floating T>
  GradTarget<T> target_in_place(int input, const Tensor<T>& proposed) {
    if (!has_no_place<T>(input)) return target_in<T>(input, &proposed.strides());
    const Edge& edge = node_.inputs()[static_cast<std::size_t>(input)];
    Node& node = *edge.node;
    node.gradient(edge.slot) = proposed.ptr();
    node.mark_written(edge.slot);
    return {proposed.ptr(), GradMode::overwrite, node, edge.slot};
  }

  /// Hands over a finished gradient. It may be a view or shared: it is not written to.
  template <Floating T>
  void give(int input, const Tensor<T>& g) {
    const Edge& edge = node_.inputs()[static_cast<std::size_t>(input)];
    if (edge.node) detail::contribute_as(*edge.node, edge.slot, g);
  }

 private:
  template <Floating T>
  GradTarget<T> target_in(int input, const Shape* strides) {
    const Edge& edge = node_.inputs()[static_cast<std::size_t>(input)];
    if (!edge.node) return {};
    Node& node = *edge.node;
    const OutputInfo& info = node.outputs()[static_cast<std::size_t>(edge.slot)];
    const auto fresh = [&] {
      ImplPtr memory = detail::new_impl(info.shape, dtype_of<T>, info.device);
      if (strides && !node.is_leaf()) memory->strides = detail::strides_ordered_as(info.shape, *strides);
      return memory;
    };
    if (info.dtype != dtype_of<T> || node.loaned(edge.slot))
      return {Tensor<T>(fresh()), node, edge.slot};
    ImplPtr& held = node.gradient(edge.slot);
    const bool keep = held && !node.stale(edge.slot);
    node.mark_written(edge.slot);
    // Only memory that nobody else can see is written to; a leaf's is meant to be seen.
    const bool own = held && (node.is_leaf() || (held.use_count() == 1 &&
                                                 held->storage.use_count() == 1));
    const bool fits = own && (held->is_contiguous() ||
                              (strides && held->strides ==
                                              detail::strides_ordered_as(info.shape, *strides)));
    if (!fits) {
      ImplPtr memory = fresh();
      if (keep) Tensor<T>(memory).copy_(Tensor<T>(held));
      held = std::move(memory);
    }
    return {held, keep ? GradMode::accumulate : GradMode::overwrite, node, edge.slot};
  }

  Node& node_;
};

namespace detail {

template <class F>
class FunctionNode final : public Node {
 public:
  FunctionNode(const char* name, F&& fn) : Node(name), fn_(std::move(fn)) {}
  void run(Backward& b) override {
    check(fn_.has_value(),
          "[backward] the graph behind '{}' was already freed; pass retain_graph to run twice",
          name());
    (*fn_)(b);
  }
  void release() override {
    fn_.reset();
    drop_inputs();
  }

 private:
  std::optional<F> fn_;
};

template <class T>
void attach(Tensor<T>& y, const std::shared_ptr<Node>& node) {
  TensorImpl& t = y.impl();
  t.slot = node->add_output({t.shape, t.dtype, y.device()});
  t.requires_grad = true;
  t.node = node;
}

}  // namespace detail

/// Whether an operation on these inputs has to be recorded.
template <class... T>
bool recording(const Tensor<T>&... inputs) {
  return grad_enabled() && (inputs.requires_grad() || ...);
}

/// A list of differentiable inputs of any scalar types, in the order of Backward's indices.
struct Inputs {
  template <class... T>
  explicit Inputs(const Tensor<T>&... x) : edges{detail::edge_of(x)...} {}
  Inputs() = default;
  std::vector<Edge> edges;
};

/// Attaches a gradient function to a result. `fn(Backward&)` must hold saved tensors only (save()).
template <class T, class F>
void record(const char* name, Tensor<T>& y, const Inputs& inputs, F fn) {
  auto node = std::make_shared<detail::FunctionNode<F>>(name, std::move(fn));
  for (const Edge& e : inputs.edges) node->add_input(e);
  detail::attach(y, node);
}

/// The same for several results of one type.
template <class T, class F>
void record(const char* name, std::vector<Tensor<T>>& ys, const Inputs& inputs, F fn) {
  auto node = std::make_shared<detail::FunctionNode<F>>(name, std::move(fn));
  for (const Edge& e : inputs.edges) node->add_input(e);
  for (Tensor<T>& y : ys) detail::attach(y, node);
}

/// The same for two results.
template <class T, class U, class F>
void record(const char* name, Tensor<T>& y0, Tensor<U>& y1, const Inputs& inputs, F fn) {
  auto node = std::make_shared<detail::FunctionNode<F>>(name, std::move(fn));
  for (const Edge& e : inputs.edges) node->add_input(e);
  detail::attach(y0, node);
  detail::attach(y1, node);
}

}  // namespace flr
