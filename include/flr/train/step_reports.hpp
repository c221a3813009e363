// What steps did, kept where they ran until somebody asks: reading a loss waits for the device.
#pragma once

#include <cmath>
#include <deque>
#include <utility>
#include <vector>

#include "flr/flr.hpp"

namespace flr::train {

/// What a step did.
struct StepReport {
  index_t step = 0;  ///< its number, from 1
  double loss = 0, grad_norm = 0, lr = 0;
};

/// The reports of a run. The first step whose loss or gradient norm is not finite is an error, as
/// soon as it is known, and whoever asks afterwards gets the same one.
class StepReports {
 public:
  explicit StepReports(Device device) : device_(device) {
    if (!device.is_cpu()) values_ = zeros<double>({most_waiting, 2}, device);
  }

  /// Forgets everything; `last` is the report of the step before the next.
  void restart(const StepReport& last) {
    waiting_.clear(), known_.clear(), failure_.clear();
    last_ = last;
  }

  void add(const StepReport& report) {
    fail_again();
    if (!std::isfinite(report.loss) || !std::isfinite(report.grad_norm)) {
      failure_ = fmt::format("[train] step {}: the loss is {} and the gradient norm {}", report.step,
                             report.loss, report.grad_norm);
      fail_again();
    }
    last_ = report;
    if (std::ssize(known_) == most_known) known_.pop_front();  // nobody takes them
    known_.push_back(report);
  }

  /// The same for a step that may not have run yet: its loss and Σ g² are copied on the device.
  /// Until they are read `grad_norm` holds what multiplies the norm.
  void add_later(const StepReport& report, const Tensor<double>& loss,
                 const Tensor<double>& norm_squared) {
    fail_again();
    if (std::ssize(waiting_) == most_waiting) collect();
    double* row = values_.mutable_data() + 2 * std::ssize(waiting_);
    Storage::copy_bytes(row, device_, loss.data(), device_, sizeof(double));
    Storage::copy_bytes(row + 1, device_, norm_squared.data(), device_, sizeof(double));
    waiting_.push_back(report);
  }

  StepReport last() {
    collect();
    return last_;
  }
  /// What is good is handed out before the error is thrown.
  std::vector<StepReport> take() {
    try {
      collect();
    } catch (const Error&) {
      if (known_.empty()) throw;
    }
    std::vector<StepReport> list(known_.begin(), known_.end());
    known_.clear();
    return list;
  }

 private:
  static constexpr std::ptrdiff_t most_waiting = 256, most_known = 65536;

  void fail_again() const {
    if (!failure_.empty()) fail("{}", failure_);
  }

  void collect() {
    fail_again();
    if (waiting_.empty()) return;
    std::vector<double> values(2 * waiting_.size());
    Storage::copy_bytes(values.data(), Device::cpu, values_.data(), device_,
                        std::ssize(values) * index_t{sizeof(double)});
    const std::vector<StepReport> list = std::exchange(waiting_, {});
    for (std::size_t i = 0; i < list.size(); ++i) {
      StepReport r = list[i];
      r.loss = values[2 * i];
      r.grad_norm *= std::sqrt(values[2 * i + 1]);
      add(r);
    }
  }

  Device device_;
  Tensor<double> values_;  ///< loss and Σ g² of the steps that wait
  std::vector<StepReport> waiting_;
  std::deque<StepReport> known_;
  StepReport last_;
  std::string failure_;
};

}  // namespace flr::train
