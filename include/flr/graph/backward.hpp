// backward: the reverse walk over the recorded graph.
#pragma once

#include <algorithm>
#include <unordered_set>

#include "flr/graph/record.hpp"

namespace flr {

struct BackwardOptions {
  bool retain_graph = false;  ///< keep saved tensors, so that backward can run again
};

namespace detail {

/// Every node that a gradient can reach from `root`, latest first: since inputs are always older
/// than what they feed, that is a topological order.
inline std::vector<std::shared_ptr<Node>> reachable(std::shared_ptr<Node> root) {
  std::vector<std::shared_ptr<Node>> order{std::move(root)};
  std::unordered_set<const Node*> seen{order.front().get()};
  for (std::size_t i = 0; i < order.size(); ++i) {
    const std::vector<Edge>& inputs = order[i]->inputs();
    for (std::size_t k = 0; k < inputs.size(); ++k)
      if (inputs[k].node && seen.insert(inputs[k].node.get()).second)
        order.push_back(inputs[k].node);
  }
  std::sort(order.begin(), order.end(),
            [](const auto& a, const auto& b) { return a->sequence() > b->sequence(); });
  return order;
}

inline void run_backward(const std::vector<std::shared_ptr<Node>>& order, bool retain) {
  NoGrad scope;
  try {
    for (const auto& node : order) {
      if (node->is_leaf()) continue;
      bool reached = false;
      for (std::size_t k = 0; k < node->outputs().size(); ++k)
        reached |= node->gradient(static_cast<int>(k)) != nullptr;
      if (reached) {
        Backward b(*node);
        node->run(b);
      }
      node->drop_gradients();
      if (!retain) node->release();
    }
  } catch (...) {
    for (const auto& node : order)
      if (!node->is_leaf()) node->drop_gradients();
    throw;
  }
}

}  // namespace detail

/// Computes the gradient of Σ seed·y for every leaf behind y and adds it to the leaf's gradient.
/// Each node is freed as soon as it has run, unless options.retain_graph.
template <Floating T>
void backward(const Tensor<T>& y, const Tensor<T>& seed, BackwardOptions options = {}) {
  check(y.requires_grad(), "[backward] expected the result of recorded operations; this tensor of "
        "shape {} does not require a gradient", y.shape());
  check(seed.shape() == y.shape(), "[backward] the seed must have the shape {} of the result, got {}",
        y.shape(), seed.shape());
  const auto order = detail::reachable(y.ptr()->node);
  detail::contribute_as(*y.ptr()->node, y.ptr()->slot, seed.detach());
  detail::run_backward(order, options.retain_graph);
}

/// The gradient of a scalar.
template <Floating T>
void backward(const Tensor<T>& loss, BackwardOptions options = {}) {
  check(loss.numel() == 1, "[backward] expected a scalar, got shape {}; pass a seed for others",
        loss.shape());
  backward(loss, ones<T>(loss.shape(), loss.device()), options);
}

}  // namespace flr
