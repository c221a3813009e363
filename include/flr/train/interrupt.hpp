// Ctrl-C, kill or a closed terminal: the first asks for a clean stop, the second ends the program.
#pragma once

#include <csignal>

namespace flr::train {

/// While it lives, SIGINT, SIGTERM and SIGHUP only set a flag, which a training loop looks at after
/// each step to save a checkpoint and leave. A SIGHUP that was ignored stays so (nohup). A second
/// signal ends the process at once, with the exit code 128 + signal; checkpoints are renamed into
/// place, so even that loses nothing that was saved. At most one at a time.
class InterruptGuard {
 public:
  InterruptGuard();
  /// Puts the former handlers back.
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  bool requested() const { return signal() != 0; }
  /// The signal that asked for the stop, or 0.
  int signal() const;

 private:
  struct sigaction former_int_ = {}, former_term_ = {}, former_hup_ = {};
};

}  // namespace flr::train
