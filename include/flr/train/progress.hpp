// A progress bar with loss, learning rate, steps per second and time left.
//
// Code of our own: Debian packages no C++ progress bar library, and it takes a hundred lines.
#pragma once

#include <cstdint>
#include <cstdio>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace flr::train {

struct ProgressOptions {
  std::string title = "train";
  double redraw_seconds = 0.1;  ///< least time between two drawings on a terminal
  double line_seconds = 10;     ///< least time between two lines elsewhere (a log file)
  std::FILE* out = stderr;
  /// Whether `out` is a terminal and how wide; asked from the system by default.
  std::optional<bool> terminal = {};
  std::optional<int> columns = {};
  /// Seconds on a clock that never goes back; the steady clock by default.
  std::function<double()> clock = {};
};

/// What the bar shows. NaN: not shown (loss, learning rate) or not known yet (rate, seconds left).
struct ProgressState {
  std::int64_t step, total;
  double loss, learning_rate, steps_per_second, seconds_left;
};

/// One line of at most `columns` characters; the bar takes what the numbers leave.
std::string progress_line(const std::string& title, const ProgressState& state, int columns);

/// 7 s, 2:05, 1:02:03, 3 d 4 h; "?" if not finite.
std::string format_duration(double seconds);

class Progress {
 public:
  /// `first` steps of `total` are done already (a resumed run): the rate counts only what follows.
  Progress(std::int64_t total, std::int64_t first = 0, ProgressOptions options = {});
  /// Ends the line of the bar.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// `step` steps are done. Cheap: it draws only when the time has come.
  void update(std::int64_t step, double loss, double learning_rate);
  /// Whether an update would draw now: lets a program fetch the loss from the device only then.
  bool due() const;
  /// Prints a line of its own, above the bar.
  void message(std::string_view text);
  /// Draws the last state and ends the line. Updates after it begin a new one.
  void finish();

 private:
  void draw();

  ProgressOptions options_;
  bool terminal_;
  std::int64_t first_, drawn_step_;
  double start_, drawn_at_;
  double recent_rate_;
  ProgressState state_;
  bool open_line_ = false, pending_ = false;
};

}  // namespace flr::train
