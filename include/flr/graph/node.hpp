// The recorded graph: a node per operation, made while the operation runs.
//
// A node owns its inputs (edges to the nodes that made them), never its own output; what backward
// needs of the output is saved as a detached handle. So a graph lives exactly as long as a handle on
// its result, and is freed at once with it.
#pragma once

#include <atomic>
#include <vector>

#include "flr/core/print.hpp"

namespace flr {

class Backward;

/// Where the gradient of an input goes: an output of the node that made it. No node: not wanted.
struct Edge {
  std::shared_ptr<Node> node;
  int slot = 0;
};

/// What a node knows of an output: enough to allocate its gradient and to draw the graph.
struct OutputInfo {
  Shape shape;
  DType dtype = DType::f32;  ///< of the gradient
  Device device;
};

namespace detail {
inline std::uint64_t next_sequence() {
  static std::atomic<std::uint64_t> counter{0};
  return ++counter;
}
}  // namespace detail

class Node {
 public:
  explicit Node(const char* name) : name_(name), sequence_(detail::next_sequence()) {}
  virtual ~Node() { drop_inputs(); }
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  const char* name() const { return name_; }
  /// Grows with every node, so that inputs always have smaller numbers than what they feed.
  std::uint64_t sequence() const { return sequence_; }
  const std::vector<Edge>& inputs() const { return inputs_; }
  const std::vector<OutputInfo>& outputs() const { return outputs_; }
  virtual bool is_leaf() const { return false; }

  void add_input(Edge edge) { inputs_.push_back(std::move(edge)); }
  int add_output(OutputInfo info) {
    outputs_.push_back(std::move(info));
    gradients_.emplace_back();
    loaned_.push_back(false);
    return static_cast<int>(outputs_.size()) - 1;
  }

  /// Computes the gradients of the inputs from those of the outputs.
  virtual void run(Backward&) = 0;
  /// Frees what backward saved and lets go of the inputs.
  virtual void release() { drop_inputs(); }

  /// The gradient slot of an output; empty until something arrives.
  ImplPtr& gradient(int slot) { return gradients_[static_cast<std::size_t>(slot)]; }
  /// Whether the next contribution to a slot replaces what lies there.
  virtual bool stale(int) const { return false; }
  virtual void mark_written(int) {}
  /// Whether somebody is writing to a slot's gradient right now.
  std::vector<bool>::reference loaned(int slot) { return loaned_[static_cast<std::size_t>(slot)]; }
  void drop_gradients() {
    for (ImplPtr& g : gradients_) g.reset();
  }

 protected:
  void set_output_device(int slot, Device device) {
    outputs_[static_cast<std::size_t>(slot)].device = device;
  }

  /// Lets go of the inputs without recursion: a chain of any length is freed in a loop.
  void drop_inputs() {
    thread_local std::vector<Edge>* pending = nullptr;
    if (inputs_.empty()) return;
    if (pending) {
      for (Edge& e : inputs_) pending->push_back(std::move(e));
      inputs_.clear();
      return;
    }
    std::vector<Edge> queue = std::move(inputs_);
    inputs_.clear();
    pending = &queue;
    while (!queue.empty()) {
      Edge last = std::move(queue.back());
      queue.pop_back();
    }
    pending = nullptr;
  }

 private:
  const char* name_;
  std::uint64_t sequence_;
  std::vector<Edge> inputs_;
  std::vector<OutputInfo> outputs_;
  std::vector<ImplPtr> gradients_;
  std::vector<bool> loaned_;
};

/// The end of a path: collects the gradient of a tensor that the user marked. The gradient stays
/// after backward, in memory of its own or in an arena.
class Leaf final : public Node {
 public:
  Leaf() : Node("leaf") {}
  bool is_leaf() const override { return true; }
  void run(Backward&) override {}
  void release() override {}
  bool stale(int) const override { return stale_; }
  void mark_written(int) override { stale_ = false; }

  /// Forgets the gradient; its memory is kept and the next contribution overwrites it.
  void zero() { stale_ = true; }
  /// True if a contribution arrived since the last zero().
  bool reached() { return gradient(0) != nullptr && !stale_; }
  /// Collects the gradient in `memory` (a view of an arena, on any device) from now on.
  void collect_in(ImplPtr memory) {
    set_output_device(0, memory->storage->device());
    gradient(0) = std::move(memory);
    stale_ = true;
  }

 private:
  bool stale_ = false;
};

namespace detail {

inline bool& grad_mode() {
  thread_local bool enabled = true;
  return enabled;
}

inline Leaf* leaf_of(const TensorImpl& impl) {
  return impl.node && impl.node->is_leaf() ? static_cast<Leaf*>(impl.node.get()) : nullptr;
}

template <class T>
Edge edge_of(const Tensor<T>& x) {
  if (!x.requires_grad()) return {};
  return {x.ptr()->node, x.ptr()->slot};
}

/// The dtype that the gradient of a leaf has: parameters of 16 bits collect in float.
constexpr DType leaf_gradient_dtype(DType dtype) {
  return dtype == DType::bf16 ? DType::f32 : dtype;
}

}  // namespace detail

/// True where operations on tensors that require gradients are recorded.
inline bool grad_enabled() { return detail::grad_mode(); }

/// In this scope nothing is recorded.
class NoGrad {
 public:
  NoGrad() : before_(detail::grad_mode()) { detail::grad_mode() = false; }
  ~NoGrad() { detail::grad_mode() = before_; }
  NoGrad(const NoGrad&) = delete;
  NoGrad& operator=(const NoGrad&) = delete;

 private:
  bool before_;
};

/// In this scope recording is on, whatever surrounds it.
class EnableGrad {
 public:
  EnableGrad() : before_(detail::grad_mode()) { detail::grad_mode() = true; }
  ~EnableGrad() { detail::grad_mode() = before_; }
  EnableGrad(const EnableGrad&) = delete;
  EnableGrad& operator=(const EnableGrad&) = delete;

 private:
  bool before_;
};

/// Calls fn() without recording and returns what it returns.
template <class F>
decltype(auto) no_grad(F&& fn) {
  NoGrad scope;
  return std::forward<F>(fn)();
}

inline std::string detail::node_label(const TensorImpl& impl) {
  if (!impl.node) return "";
  return impl.node->is_leaf() ? " requires_grad" : std::string(" from ") + impl.node->name();
}

template <Scalar T>
Tensor<T>& Tensor<T>::requires_grad(bool wanted) {
  static_assert(Floating<T>, "only tensors of float, double or bf16 can require a gradient");
  TensorImpl& t = impl();
  check(!t.node || t.node->is_leaf(),
        "[requires_grad] expected a leaf; this tensor is the result of '{}' (detach it first)",
        t.node ? t.node->name() : "");
  t.requires_grad = wanted;
  if (!wanted) {
    t.node.reset();
  } else if (!t.node) {
    t.node = std::make_shared<Leaf>();
    t.slot = t.node->add_output({t.shape, detail::leaf_gradient_dtype(t.dtype), device()});
  }
  return *this;
}

template <Scalar T>
Tensor<compute_t<T>> Tensor<T>::grad() const {
  Leaf* leaf = impl_ ? detail::leaf_of(*impl_) : nullptr;
  if (!leaf) return {};
  if (!leaf->gradient(0))
    return zeros<compute_t<T>>(shape(), device());
  Tensor<compute_t<T>> g(leaf->gradient(0));
  if (leaf->stale(0)) g.fill_(0);
  return g;
}

template <Scalar T>
void Tensor<T>::zero_grad() {
  if (Leaf* leaf = impl_ ? detail::leaf_of(*impl_) : nullptr) leaf->zero();
}

}  // namespace flr
