#include "flr/train/progress.hpp"

#include <fmt/core.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

#include "flr/core/error.hpp"

namespace flr::train {

namespace {

constexpr double unknown = std::numeric_limits<double>::quiet_NaN();

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

int terminal_columns(std::FILE* out) {
  winsize size{};
  const bool known = ::ioctl(::fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : 80;
}

// Erases what the bar may have left to the right of the cursor.
constexpr const char* clear_rest = "\x1b[K";

}  // namespace

std::string format_duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0 || seconds > 1e10) return "?";
  const auto s = static_cast<std::int64_t>(std::llround(seconds));
  if (s < 60) return fmt::format("{} s", s);
  if (s < 3600) return fmt::format("{}:{:02}", s / 60, s % 60);
  if (s < 86400) return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
  return fmt::format("{} d {} h", s / 86400, s / 3600 % 24);
}

std::string progress_line(const std::string& title, const ProgressState& state, int columns) {
  std::string numbers = fmt::format("{}/{}", state.step, state.total);
  if (!std::isnan(state.loss)) numbers += fmt::format("  loss {:.4g}", state.loss);
  if (!std::isnan(state.learning_rate)) numbers += fmt::format("  lr {:.2e}", state.learning_rate);
  if (!std::isnan(state.steps_per_second))
    numbers += fmt::format("  {:.3g} steps/s", state.steps_per_second);
  if (state.step < state.total) numbers += "  " + format_duration(state.seconds_left) + " left";

  const double part =
      state.total > 0 ? std::clamp(double(state.step) / double(state.total), 0.0, 1.0) : 1.0;
  std::string line = fmt::format("{} {:3.0f}% ", title, std::floor(100 * part));
  const int room = std::min(30, columns - static_cast<int>(line.size() + numbers.size()) - 3);
  if (room >= 5) {
    const int filled = static_cast<int>(part * room);
    const std::string bar(static_cast<std::size_t>(filled), '=');
    const std::string rest(static_cast<std::size_t>(room - filled), ' ');
    line += "[" + bar + rest + "] ";
  }
  line += numbers;
  if (std::ssize(line) > columns) line.resize(static_cast<std::size_t>(std::max(columns, 0)));
  return line;
}

Progress::Progress(std::int64_t total, std::int64_t first, ProgressOptions options)
    : options_(std::move(options)), first_(first), drawn_step_(first) {
  check(total >= 0 && first >= 0, "[progress] expected numbers of steps; got {} of {}", first,
        total);
  if (!options_.clock) options_.clock = steady_seconds;
  terminal_ = options_.terminal.value_or(::isatty(::fileno(options_.out)) == 1);
  start_ = options_.clock();
  // On a terminal the first update shows at once; a log begins with a measured rate.
  drawn_at_ = terminal_ ? -std::numeric_limits<double>::infinity() : start_;
  recent_rate_ = unknown;
  state_ = {first, total, unknown, unknown, unknown, unknown};
}

Progress::~Progress() {
  if (open_line_) std::fputc('\n', options_.out);
}

bool Progress::due() const {
  const double interval = terminal_ ? options_.redraw_seconds : options_.line_seconds;
  return options_.clock() - drawn_at_ >= interval || state_.step >= state_.total;
}

void Progress::update(std::int64_t step, double loss, double learning_rate) {
  state_.step = step;
  state_.loss = loss;
  state_.learning_rate = learning_rate;
  pending_ = true;
  if (due()) draw();
}

void Progress::draw() {
  const double now = options_.clock();
  // The rate shown follows the last few drawings; the time left uses the whole run's mean, which
  // knows about evaluations and checkpoints.
  if (now > start_ && state_.step > first_) {
    const double since = std::max(now - std::max(drawn_at_, start_), 1e-9);
    const double rate = double(state_.step - drawn_step_) / since;
    if (std::isnan(recent_rate_))
      recent_rate_ = double(state_.step - first_) / (now - start_);
    else
      recent_rate_ += 0.2 * (rate - recent_rate_);
    state_.steps_per_second = recent_rate_;
    state_.seconds_left =
        double(state_.total - state_.step) * (now - start_) / double(state_.step - first_);
  }
  drawn_at_ = now;
  drawn_step_ = state_.step;
  pending_ = false;
  if (terminal_) {
    const int columns = options_.columns.value_or(terminal_columns(options_.out));
    const auto line = progress_line(options_.title, state_, columns - 1);
    std::fprintf(options_.out, "\r%s%s", line.c_str(), clear_rest);
    open_line_ = true;
  } else {
    const auto line = progress_line(options_.title, state_, options_.columns.value_or(100));
    std::fprintf(options_.out, "%s\n", line.c_str());
  }
  std::fflush(options_.out);
}

void Progress::message(std::string_view text) {
  if (terminal_ && open_line_) std::fprintf(options_.out, "\r%s", clear_rest);
  std::fprintf(options_.out, "%.*s\n", static_cast<int>(text.size()), text.data());
  const bool redraw = open_line_;
  open_line_ = false;
  if (redraw)
    draw();
  else
    std::fflush(options_.out);
}

void Progress::finish() {
  if (pending_) draw();
  if (open_line_) std::fputc('\n', options_.out);
  open_line_ = false;
  std::fflush(options_.out);
}

}  // namespace flr::train
