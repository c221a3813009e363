// The recorded graph as a picture: Graphviz text.
#pragma once

#include <string>

#include "flr/graph/backward.hpp"

namespace flr {

/// The graph behind y in DOT: boxes are operations, ellipses leaves; edges carry shapes.
/// Pipe it through `dot -Tsvg`.
template <Floating T>
std::string to_dot(const Tensor<T>& y) {
  std::string text = "digraph flr {\n  rankdir=BT;\n  node [fontname=\"sans-serif\"];\n";
  if (y.requires_grad()) {
    for (const auto& node : detail::reachable(y.ptr()->node)) {
      const OutputInfo& out = node->outputs().front();
      text += fmt::format("  n{} [label=\"{}\\n{} {}\" shape={}];\n", node->sequence(), node->name(),
                          name_of(out.dtype), out.shape, node->is_leaf() ? "ellipse" : "box");
      for (const Edge& e : node->inputs())
        if (e.node)
          text += fmt::format("  n{} -> n{} [label=\"{}\"];\n", e.node->sequence(), node->sequence(),
                              e.node->outputs()[static_cast<std::size_t>(e.slot)].shape);
    }
  }
  return text + "}\n";
}

}  // namespace flr
