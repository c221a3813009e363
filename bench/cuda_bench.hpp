// What the benchmarks of the CUDA backend have in common: arguments, timing on the GPU, bounds, and
// one JSON object a line (bench/peer/README.md), with a table for readers at the end.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <regex>
#include <string>
#include <vector>

#include "flr/cuda/cuda.hpp"
#include "flr/flr.hpp"

namespace bench {

using namespace flr;

struct Arguments {
  std::string only;      ///< of the names "bench shape"; empty: all
  double seconds = 0.1;  ///< timed, for each row
};

/// A size that a program takes as a flag of its own.
struct Size {
  const char* flag;
  index_t* value;
};

/// --only REGEX --seconds S and the sizes, whole numbers from 1 on; anything else ends the program.
inline Arguments parse(int argc, char** argv, const std::vector<Size>& sizes = {}) {
  Arguments a;
  std::string usage;
  for (const Size& size : sizes) usage += fmt::format(" [{} {}]", size.flag, *size.value);
  for (int i = 1; i < argc; i += 2) {
    const std::string flag = argv[i];
    const auto size = std::find_if(sizes.begin(), sizes.end(),
                                   [&](const Size& s) { return flag == s.flag; });
    if (i + 1 < argc && flag == "--only") a.only = argv[i + 1];
    else if (i + 1 < argc && flag == "--seconds") a.seconds = std::atof(argv[i + 1]);
    else if (i + 1 < argc && size != sizes.end() && std::atoll(argv[i + 1]) > 0)
      *size->value = std::atoll(argv[i + 1]);
    else {
      fmt::print(stderr, "usage: {} [--only REGEX of \"bench shape\"] [--seconds S]{}\n", argv[0],
                 usage);
      std::exit(1);
    }
  }
  fmt::print(stderr, "{}\n", cuda::describe());  // or says why there is no GPU
  return a;
}

struct Times {
  double ms = 0, min_ms = 0;
  int calls = 0;
};

/// The median of five batches (three of slow calls). A batch is long beside the wait at its end: twenty calls, but
/// fewer of a call that is itself long.
template <class F>
Times measure(F&& call, double seconds) {
  using Clock = std::chrono::steady_clock;
  const auto batch = [&](int calls) {
    cuda::synchronize();
    const auto start = Clock::now();
    for (int i = 0; i < calls; ++i) call();
    cuda::synchronize();
    return std::chrono::duration<double, std::milli>(Clock::now() - start).count() / calls;
  };
  const bool slow = batch(1) > 500;  // whatever the first call prepares counts here only
  if (!slow) batch(2);
  const double first = batch(1);
  const int calls = std::clamp(static_cast<int>(1e3 * seconds / 5 / first), 1, 200);
  const int per_batch = first < 2 ? std::max(calls, 20) : calls;
  std::vector<double> ms;
  for (int i = 0; i < (slow ? 3 : 5); ++i) ms.push_back(batch(per_batch));
  std::sort(ms.begin(), ms.end());
  return {ms[ms.size() / 2], ms.front(), static_cast<int>(ms.size()) * per_batch};
}

/// What a call must do at least; its floor is the longest of the three on an H100 SXM at 1.755 GHz.
struct Work {
  double bytes = 0, exponentials = 0, flops = 0;
  double flops_per_s = 800e12;  ///< tensor cores on bf16, as measured on large products

  double memory_ms() const { return 1e3 * bytes / 3.0e12; }
  double exponential_ms() const { return 1e3 * exponentials / (132 * 16 * 1.755e9); }
  double flops_ms() const { return 1e3 * flops / flops_per_s; }
  double floor_ms() const { return std::max({memory_ms(), exponential_ms(), flops_ms()}); }
};

/// Products of T: tensor cores for bf16, multiply-adds of the plain cores for float.
template <class T>
constexpr double flops_per_second() {
  return std::same_as<T, bf16> ? 800e12 : 132 * 128 * 2 * 1.755e9;
}

class Report {
 public:
  explicit Report(const Arguments& a) : a_(a), only_(a.only) {}
  ~Report() {
    fmt::print("\n{:<22} {:<34} {:>9} {:>9} {:>6} {:>9} {:>9}\n", "", "", "ms", "floor", "share",
               "TB/s", "peak MiB");
    for (const std::string& line : lines_) fmt::print("{}\n", line);
  }
  Report(const Report&) = delete;
  Report& operator=(const Report&) = delete;

  bool wanted(const std::string& name, const std::string& shape) const {
    return a_.only.empty() || std::regex_search(name + " " + shape, only_);
  }

  /// Times a call, unless --only leaves it out. `impl` names a variant, "flr" or "flr-…". The peak is
  /// that of the calls; a captured step, whose replays allocate nothing, keeps that of its recording.
  template <class F>
  void time(const std::string& name, const std::string& shape, const Work& work, F&& call,
            const std::string& impl = "flr") {
    if (!wanted(name, shape)) return;
    pool(Device::cuda).reset_peak();
    const Times t = measure(call, a_.seconds);
    const double peak = static_cast<double>(memory_stats(Device::cuda).peak) / (1 << 20);
    const double share = work.floor_ms() / t.ms, rate = 1e-9 * work.bytes / t.ms;
    fmt::print("{{\"bench\":\"{}\",\"impl\":\"{}\",\"shape\":\"{}\",\"ms\":{:.4f},\"min_ms\":{:.4f},"
               "\"calls\":{},\"peak_mib\":{:.1f},\"bytes\":{:.0f},\"memory_floor_ms\":{:.4f},"
               "\"exp_floor_ms\":{:.4f},\"flops_floor_ms\":{:.4f},\"of_floor\":{:.3f}}}\n",
               name, impl, shape, t.ms, t.min_ms, t.calls, peak, work.bytes, work.memory_ms(),
               work.exponential_ms(), work.flops_ms(), share);
    std::fflush(stdout);
    lines_.push_back(fmt::format(
        "{:<22} {:<34} {:9.4f} {:9.4f} {:5.0f}% {:9.2f} {:9.0f}",
        impl == "flr" ? name : name + " " + impl.substr(4), shape, t.ms, work.floor_ms(),
        100 * share, rate, peak));
  }

 private:
  Arguments a_;
  std::regex only_;
  std::vector<std::string> lines_;
};

/// A program's body, with errors as one sentence.
inline int run(int argc, char** argv, const std::function<void(Report&)>& body) {
  try {
    const Arguments args = parse(argc, argv);
    Report report(args);
    body(report);
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}: {}\n", argv[0], error.what());
    return 1;
  }
}

/// Random values in T on the GPU.
template <Floating T>
Tensor<T> normal(const Shape& shape) {
  return randn<T>(shape, Device::cuda);
}

}  // namespace bench
