// Module: named parameters, buffers and children, under the names that PyTorch's state_dict would
// give them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "flr/nn/bf16_copy.hpp"
#include "flr/ops.hpp"

namespace flr::nn {

/// What a parameter is for; initialisers and optimiser groups go by it.
enum class Role : unsigned char { weight, bias, norm, embedding, latent, other };

template <Floating T>
struct NamedParameter {
  std::string name;
  Role role = Role::weight;
  Tensor<T> value;
};

template <Floating T>
struct NamedBuffer {
  std::string name;
  Tensor<T> value;
  bool saved = true;  ///< with the weights; false for tables that the constructor makes anyway
};

/// All values of a root module's parameters in one block, all gradients in another. An optimiser
/// step, a gradient norm and a moving average are then one pass over flat memory. Every parameter
/// starts on a 64-byte boundary; the gaps stay zero.
template <Floating T>
struct Arena {
  struct Entry {
    std::string name;
    Role role;
    Shape shape;
    index_t offset = 0, numel = 0;
    Tensor<T> value;  ///< the handle that the module holds
  };
  std::vector<Entry> entries;
  Tensor<T> values, gradients;  ///< [size]
  std::shared_ptr<Bf16Copy<T>> bf16_copy;  ///< where keep_bf16() asked for one
  index_t size = 0;
};

template <Floating T>
class Module {
  static_assert(!std::same_as<T, bf16>,
                "flr::nn::Module: parameters are float or double; bf16 is for activations");

 public:
  Module() = default;
  virtual ~Module() = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;

  /// Every parameter below this module, in the order of registration.
  std::vector<NamedParameter<T>> parameters() const {
    std::vector<NamedParameter<T>> list;
    collect("", list);
    return list;
  }
  /// Every buffer (state that is not trained) below this module.
  std::vector<NamedBuffer<T>> buffers() const {
    std::vector<NamedBuffer<T>> list;
    collect_buffers("", list);
    return list;
  }
  index_t num_parameters() const {
    index_t n = 0;
    for (const auto& p : parameters()) n += p.value.numel();
    return n;
  }
  /// The parameter of a name; an error lists what is there.
  Tensor<T> parameter(const std::string& name) const {
    for (auto& p : parameters())
      if (p.name == name) return p.value;
    fail("[module] there is no parameter '{}'; the first is '{}'", name,
         parameters().empty() ? "(none)" : parameters().front().name);
  }

  /// Training or evaluation (dropout), for this module and everything below.
  void train(bool on = true) {
    training_ = on;
    for (auto& child : children_) child.module->train(on);
  }
  void eval() { train(false); }
  bool training() const { return training_; }

  /// Whether MLPs here and below forget what they save for backward and make it again there
  /// (graph/recompute.hpp). The bits stay the same.
  void recompute_mlps(bool on) {
    recompute_mlps_ = on;
    for (auto& child : children_) child.module->recompute_mlps(on);
  }
  bool recomputes_mlps() const { return recompute_mlps_; }

  /// Tells everything below which training step comes next. What a module draws anew between steps
  /// belongs in on_step(): inside one it would be left out when a captured step is replayed.
  void begin_step(std::uint64_t step) {
    on_step(step);
    for (auto& child : children_) child.module->begin_step(step);
  }

  void zero_grad() {
    for (auto& p : parameters()) p.value.zero_grad();
  }

  /// Where the first parameter lies.
  Device device() const {
    for (const auto& p : parameters_) return p.value.device();
    for (const auto& c : children_)
      if (!c.module->parameters().empty()) return c.module->device();
    return Device::cpu;
  }

  /// Moves everything below this module to a device: parameters and gradients into arenas there.
  /// Handles taken before stay valid. To be called before an optimiser is made.
  void to(Device device) {
    const bool there = !arena_ || arena_->values.device() == device;
    check(there, "[module] the parameters already lie in an arena on {}; move the module to {} before "
          "an optimiser is made for it", there ? "" : arena_->values.device().str(), device.str());
    if (!arena_) build_arena(device);
    for (auto& b : buffers()) {
      if (b.value.device() == device) continue;
      auto home = std::make_shared<Storage>(b.value.impl().storage->bytes(), device);
      b.value.impl().storage->move_into(std::move(home), 0);
    }
  }

  /// Moves all parameters and gradients below this module into one arena each. Handles taken
  /// before stay valid. Building twice gives the same arena.
  Arena<T>& arena() {
    if (!arena_) {
      const auto list = parameters();
      build_arena(list.empty() ? Device::cpu : list.front().value.device());
    }
    return *arena_;
  }

  /// Keeps a rounded copy of all parameters for activations in bf16; optimisers write it with the
  /// parameters. Without one they are converted wherever they are used. To be called after to().
  void keep_bf16() {
    Arena<T>& a = arena();
    if (!a.bf16_copy) a.bf16_copy = std::make_shared<Bf16Copy<T>>(a.values);
    share(a.bf16_copy);
  }
  /// Brings that copy up to date after weights were changed from outside. Modules do so by
  /// themselves; the replay of a captured step does not.
  void refresh_bf16() {
    if (arena_ && arena_->bf16_copy) arena_->bf16_copy->update();
  }

 protected:
  virtual void on_step(std::uint64_t) {}

  /// A parameter in the scalars of the activations: itself, or its bf16 copy, whose gradients are
  /// the parameter's own.
  template <Floating A>
  Tensor<A> parameter_as(const Tensor<T>& p) const {
    if constexpr (std::same_as<A, T>) {
      return p;
    } else {
      static_assert(std::same_as<A, bf16>,
                    "flr::nn: activations have the type of the parameters, or bf16");
      if (!p.defined()) return {};
      return bf16_copy_ ? bf16_copy_->of(p) : p.template to<bf16>();
    }
  }

  /// Creates and registers a parameter of zeros.
  Tensor<T> add_parameter(const std::string& name, const Shape& shape, Role role) {
    MemoryScope use(MemoryUse::parameters);
    Tensor<T> p = zeros<T>(shape);
    p.requires_grad(true);
    parameters_.push_back({name, role, p});
    return p;
  }
  Tensor<T> add_buffer(const std::string& name, Tensor<T> value, bool saved = true) {
    buffers_.push_back({name, value, saved});
    return value;
  }
  /// Registers a member as a child. The child must live as long as this module.
  template <class M>
  void add_child(const std::string& name, M& child) {
    children_.push_back({name, &child});
  }

 private:
  struct Child {
    std::string name;
    Module* module;
  };
  void collect(const std::string& prefix, std::vector<NamedParameter<T>>& list) const {
    for (const auto& p : parameters_) list.push_back({prefix + p.name, p.role, p.value});
    for (const auto& c : children_) c.module->collect(prefix + c.name + ".", list);
  }
  void collect_buffers(const std::string& prefix, std::vector<NamedBuffer<T>>& list) const {
    for (const auto& b : buffers_) list.push_back({prefix + b.name, b.value, b.saved});
    for (const auto& c : children_) c.module->collect_buffers(prefix + c.name + ".", list);
  }

  void share(const std::shared_ptr<Bf16Copy<T>>& copy) {
    bf16_copy_ = copy;
    for (auto& child : children_) child.module->share(copy);
  }

  void build_arena(Device device) {
    arena_ = std::make_unique<Arena<T>>();
    constexpr index_t step = 64 / index_t{sizeof(T)};
    for (auto& p : parameters()) {
      arena_->entries.push_back(
          {p.name, p.role, p.value.shape(), arena_->size, p.value.numel(), p.value});
      arena_->size += (p.value.numel() + step - 1) / step * step;
    }
    {
      MemoryScope use(MemoryUse::parameters);
      arena_->values = zeros<T>({arena_->size}, device);
    }
    {
      MemoryScope use(MemoryUse::gradients);
      arena_->gradients = zeros<T>({arena_->size}, device);
    }
    for (auto& e : arena_->entries) {
      e.value.impl().storage->move_into(arena_->values.impl().storage,
                                        e.offset * index_t{sizeof(T)});
      Leaf* leaf = detail::leaf_of(e.value.impl());
      if (leaf)
        leaf->collect_in(detail::view_of(arena_->gradients, e.shape, contiguous_strides(e.shape),
                                         e.offset).ptr());
    }
  }

  std::vector<NamedParameter<T>> parameters_;
  std::vector<NamedBuffer<T>> buffers_;
  std::vector<Child> children_;
  std::unique_ptr<Arena<T>> arena_;
  std::shared_ptr<Bf16Copy<T>> bf16_copy_;  ///< the root's
  bool training_ = true, recompute_mlps_ = false;
};

}  // namespace flr::nn
