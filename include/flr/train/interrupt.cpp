#include "flr/train/interrupt.hpp"

#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "flr/core/error.hpp"

namespace flr::train {

namespace {

std::atomic<int> received{0};
std::atomic<bool> guarded{false};
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler may not take a lock");

// Only calls that a signal handler may make.
void handle(int signal) {
  int none = 0;
  if (!received.compare_exchange_strong(none, signal)) ::_exit(128 + signal);
  const int saved = errno;
  static constexpr char text[] =
      "\nstopping after this step and saving a checkpoint; once more to stop at once\n";
  if (::write(STDERR_FILENO, text, sizeof text - 1) < 0) {
    // Nobody is left to tell.
  }
  errno = saved;
}

}  // namespace

InterruptGuard::InterruptGuard() {
  check(!guarded.exchange(true), "[interrupt] expected one InterruptGuard at a time");
  received = 0;
  struct sigaction action = {};
  action.sa_handler = handle;
  action.sa_flags = SA_RESTART;  // reads and writes under way are not disturbed
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGINT, &action, &former_int_);
  ::sigaction(SIGTERM, &action, &former_term_);
  // Under nohup the program is to outlive its terminal.
  ::sigaction(SIGHUP, nullptr, &former_hup_);
  if (former_hup_.sa_handler != SIG_IGN) ::sigaction(SIGHUP, &action, nullptr);
}

InterruptGuard::~InterruptGuard() {
  ::sigaction(SIGINT, &former_int_, nullptr);
  ::sigaction(SIGTERM, &former_term_, nullptr);
  ::sigaction(SIGHUP, &former_hup_, nullptr);
  guarded = false;
}

int InterruptGuard::signal() const {
  return received;
}

}  // namespace flr::train
