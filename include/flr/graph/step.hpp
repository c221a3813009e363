// CapturedStep: a step that runs the same operations on the same shapes each time, recorded once as
// a CUDA graph and then replayed: the host gives one command a step instead of hundreds.
//
// A replay repeats the device's work, not the host's. So a step function may only do work whose
// place in memory and whose sizes stay; whatever varies from step to step lies in the device's memory
// and is written before the run: the inputs (copied here), an optimiser's scalars
// (Optimizer::prepare), the number that random draws are made for (set_device_random_step).
#pragma once

#include <cstdio>
#include <functional>
#include <list>
#include <optional>
#include <vector>

#include "flr/core/tensor.hpp"

namespace flr {

/// What a step is given: tensors of any types, contiguous, on the host or on the device.
using StepInputs = std::vector<ImplPtr>;

struct CaptureOptions {
  bool enabled = true;
  int warm_up = 2;      ///< runs of a shape before its capture; they are steps like any other
  int most_shapes = 4;  ///< graphs that are kept; the one not used for longest goes
};

/// Tells the device which training step its random draws belong to, as set_random_step tells the
/// host. In the order of the stream; nothing to do on the CPU.
inline void set_device_random_step(Device device, std::uint64_t step) {
  if (!device.is_cpu()) detail::require_cuda().set_random_step(step);
}

/// Runs step(inputs) → R, where R is what the step leaves on the device (a tensor, or a struct of
/// them). On the CPU, or with capturing off, every run is a plain call. The bits are the same in all
/// cases. A step that cannot be captured is reported once on stderr and goes on uncaptured: it must
/// bear being begun twice with nothing in between.
template <class R>
class CapturedStep {
 public:
  using Function = std::function<R(const StepInputs&)>;

  CapturedStep(Device device, Function step, CaptureOptions options = {})
      : device_(device), step_(std::move(step)), o_(options) {
    if (device_.is_cpu()) o_.enabled = false;
  }
  ~CapturedStep() {
    shapes_.clear();
    plain_.reset();
    if (!pool_) return;
    pool_->keep_all(false);
    pool_->trim();
  }
  CapturedStep(const CapturedStep&) = delete;
  CapturedStep& operator=(const CapturedStep&) = delete;

  /// The result stays valid until the next run.
  const R& run(const StepInputs& inputs) {
    if (device_.is_cpu()) {
      plain_.reset();  // its memory is free for this run
      return plain_.emplace(step_(inputs));
    }
    Shaped& s = shaped(inputs);
    for (std::size_t i = 0; i < inputs.size(); ++i) bring(*s.inputs[i], *inputs[i]);
    if (s.graph) {
      detail::require_cuda().graph_launch(s.graph);
    } else if (!o_.enabled || s.runs < o_.warm_up) {
      ++s.runs;
      run_plain(s);
    } else {
      capture(s);
    }
    return *s.result;
  }

  /// Whether the last shape that ran has been captured.
  bool captured() const { return !shapes_.empty() && shapes_.front().graph; }

 private:
  /// What is kept for one set of shapes.
  struct Shaped {
    StepInputs inputs;  ///< at addresses that a graph can know
    int runs = 0;
    void* graph = nullptr;
    std::optional<R> result;

    Shaped() = default;
    Shaped(const Shaped&) = delete;
    ~Shaped() {
      if (graph) detail::require_cuda().graph_destroy(graph);
    }
  };

  /// In this scope device memory comes from the pool whose blocks are kept for the graphs.
  class PoolScope {
   public:
    explicit PoolScope(Pool* pool) : on_(pool != nullptr) {
      if (on_) detail::require_cuda().use_pool(pool);
    }
    ~PoolScope() {
      if (on_) detail::require_cuda().use_pool(nullptr);
    }
    PoolScope(const PoolScope&) = delete;
    PoolScope& operator=(const PoolScope&) = delete;

   private:
    bool on_;
  };

  static bool same_shapes(const StepInputs& a, const StepInputs& b) {
    bool same = a.size() == b.size();
    for (std::size_t i = 0; same && i < a.size(); ++i)
      same = a[i]->dtype == b[i]->dtype && a[i]->shape == b[i]->shape;
    return same;
  }

  /// The entry of these shapes, moved to the front.
  Shaped& shaped(const StepInputs& inputs) {
    for (auto it = shapes_.begin(); it != shapes_.end(); ++it)
      if (same_shapes(it->inputs, inputs)) {
        shapes_.splice(shapes_.begin(), shapes_, it);
        return shapes_.front();
      }
    if (static_cast<int>(shapes_.size()) >= o_.most_shapes) shapes_.pop_back();
    if (o_.enabled) {
      pool(device_).trim();  // what others keep for reuse is room for this shape's blocks
      if (!pool_) {
        pool_ = detail::require_cuda().new_pool();
        pool_->keep_all(true);
        detail::step_pools().push_back(pool_);
      }
    }
    Shaped& s = shapes_.emplace_front();
    MemoryScope use(MemoryUse::data);
    for (const ImplPtr& x : inputs) s.inputs.push_back(detail::new_impl(x->shape, x->dtype, device_));
    return s;
  }

  void bring(TensorImpl& to, const TensorImpl& from) {
    check(from.is_contiguous(), "[captured step] expected contiguous inputs, got strides {} for {}",
          from.strides, from.shape);
    const index_t bytes = from.numel() * size_of(from.dtype);
    const DeviceRuntime& cuda = detail::require_cuda();
    if (from.storage->device().is_cpu() && cuda.upload) cuda.upload(to.bytes(), from.bytes(), bytes);
    else Storage::copy_bytes(to.bytes(), device_, from.bytes(), from.storage->device(), bytes);
  }

  void run_plain(Shaped& s) {
    s.result.reset();
    const PoolScope scope(o_.enabled ? pool_ : nullptr);
    s.result.emplace(step_(s.inputs));
  }

  void capture(Shaped& s) {
    const DeviceRuntime& cuda = detail::require_cuda();
    s.result.reset();
    try {
      const PoolScope scope(pool_);
      cuda.capture_begin();
      try {
        s.result.emplace(step_(s.inputs));
      } catch (...) {
        cuda.capture_abort();
        throw;
      }
      s.graph = cuda.capture_end();
    } catch (const std::exception& error) {
      std::fprintf(stderr, "note: this step cannot be captured as a CUDA graph and goes on without: %s\n",
                   error.what());
      o_.enabled = false;
      s.graph = nullptr;
      run_plain(s);
      return;
    }
    cuda.graph_launch(s.graph);
  }

  Device device_;
  Function step_;
  CaptureOptions o_;
  std::list<Shaped> shapes_;  ///< the one used last stands first
  std::optional<R> plain_;
  Pool* pool_ = nullptr;
};

}  // namespace flr
