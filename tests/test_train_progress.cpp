// The progress bar of a run, on terminals and in log files.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "flr/core/error.hpp"
#include "flr/train/progress.hpp"

using namespace flr;
using namespace flr::train;

TEST_CASE("durations") {
  CHECK(format_duration(6.6) == "7 s");
  CHECK(format_duration(125) == "2:05");
  CHECK(format_duration(59.7) == "1:00");
  CHECK(format_duration(3723) == "1:02:03");
  CHECK(format_duration(3 * 86400 + 4 * 3600 + 5) == "3 d 4 h");
  CHECK(format_duration(NAN) == "?");
}

namespace {

// A progress bar on a clock of its own, and all that it wrote.
struct Watched {
  double now = 100;
  std::FILE* file = std::tmpfile();
  ~Watched() { std::fclose(file); }
  ProgressOptions options(bool terminal) {
    return {.out = file, .terminal = terminal, .columns = 80, .clock = [this] { return now; }};
  }
  std::string text() {
    std::fflush(file);
    std::string out(static_cast<std::size_t>(std::ftell(file)), '\0');
    std::rewind(file);
    CHECK(std::fread(out.data(), 1, out.size(), file) == out.size());
    std::fseek(file, 0, SEEK_END);
    return out;
  }
};

}  // namespace

TEST_CASE("a terminal sees at most ten drawings a second, and the last state") {
  Watched w;
  {
    Progress bar(1000, 0, w.options(true));
    for (int step = 1; step <= 1000; ++step) {
      w.now += 0.001;
      bar.update(step, 1.0 / step, 1e-3);
    }
    bar.finish();
  }
  const std::string text = w.text();
  const auto drawings = std::count(text.begin(), text.end(), '\r');
  CHECK(drawings >= 9);
  CHECK(drawings <= 12);
  CHECK(std::count(text.begin(), text.end(), '\n') == 1);
  const std::string last = text.substr(text.rfind('\r') + 1);
  CHECK(last.find("100%") != last.npos);
  CHECK(last.find("1000/1000  loss 0.001  lr 1.00e-03  1e+03 steps/s") != last.npos);
}

TEST_CASE("a log file sees a plain line every few seconds") {
  Watched w;
  Progress bar(1000, 500, w.options(false));
  for (int step = 501; step <= 1000; ++step) {
    w.now += 0.1;
    bar.update(step, 0.5, 1e-3);
  }
  bar.finish();
  const std::string text = w.text();
  CHECK(text.find('\r') == text.npos);
  CHECK(text.find('\x1b') == text.npos);
  CHECK(std::count(text.begin(), text.end(), '\n') >= 5);
  CHECK(std::count(text.begin(), text.end(), '\n') <= 6);
  // 100 steps in 10 s, counted from where the run was resumed; 400 are left.
  CHECK(text.substr(0, text.find('\n')).find("10 steps/s  40 s left") != text.npos);
}

TEST_CASE("messages do not mix with the bar, and narrow terminals are kept whole") {
  Watched w;
  Progress bar(10, 0, w.options(true));
  bar.update(1, 0.5, 1e-3);
  bar.message("saved ckpt01");
  const std::string text = w.text();
  CHECK(text.find("\x1b[Ksaved ckpt01\n") != text.npos);
  CHECK(text.substr(text.find('\n')).find("1/10") != text.npos);
  for (const int columns : {0, 5, 20, 40, 60, 200}) {
    const auto line = progress_line("train", {123456, 999999, 0.123, 1e-3, 12.5, 70000}, columns);
    CHECK(std::ssize(line) <= columns);
  }
  CHECK_THROWS_AS(Progress(-1), Error);
}
