// What the benchmark programs that PyTorch is compared with have in common: timing, memory, and one
// JSON object a line (bench/peer/README.md).
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "flr/flr.hpp"

namespace bench {

struct Arguments {
  int threads = 1;
  double seconds = 8;
};

/// --threads T --seconds S; anything else ends the program.
inline Arguments parse(int argc, char** argv) {
  Arguments a;
  for (int i = 1; i < argc; i += 2) {
    const std::string flag = argv[i];
    if (i + 1 < argc && flag == "--threads") a.threads = std::atoi(argv[i + 1]);
    else if (i + 1 < argc && flag == "--seconds") a.seconds = std::atof(argv[i + 1]);
    else {
      fmt::print(stderr, "usage: {} [--threads T] [--seconds S]\n", argv[0]);
      std::exit(1);
    }
  }
  flr::set_num_threads(a.threads);
  return a;
}

struct Times {
  double median_ms = 0, min_ms = 0;
  int calls = 0;
};

/// Drops `warm` calls, then times calls for at least `seconds` and five calls.
template <class F>
Times measure(F&& call, double seconds, int warm = 1) {
  using Clock = std::chrono::steady_clock;
  for (int i = 0; i < warm; ++i) call();
  std::vector<double> ms;
  const auto start = Clock::now();
  while (ms.size() < 5 || std::chrono::duration<double>(Clock::now() - start).count() < seconds) {
    const auto t = Clock::now();
    call();
    ms.push_back(std::chrono::duration<double, std::milli>(Clock::now() - t).count());
  }
  std::sort(ms.begin(), ms.end());
  return {ms[ms.size() / 2], ms.front(), static_cast<int>(ms.size())};
}

/// A field of /proc/self/status in MiB: VmRSS now, VmHWM the most ever.
inline double status_mib(const char* field) {
  std::ifstream file("/proc/self/status");
  std::string line;
  while (std::getline(file, line))
    if (line.starts_with(field)) return std::atof(line.c_str() + std::string(field).size() + 1) / 1024;
  return 0;
}

/// The peak of the resident size counts from now.
inline void reset_peak() { std::ofstream("/proc/self/clear_refs") << "5"; }

inline void print(const char* name, const Arguments& a, const std::string& shape, const Times& t,
                  double rss_mib) {
  fmt::print("{{\"bench\":\"{}\",\"impl\":\"flr\",\"threads\":{},\"shape\":\"{}\",\"ms\":{:.4f},"
             "\"min_ms\":{:.4f},\"steps\":{},\"rss_mib\":{:.1f}}}\n",
             name, a.threads, shape, t.median_ms, t.min_ms, t.calls, rss_mib);
  std::fflush(stdout);
}

}  // namespace bench
