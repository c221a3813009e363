// Ctrl-C, a closed terminal, and signals behind a guard.
#include <doctest/doctest.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>

#include "flr/core/error.hpp"
#include "flr/train/interrupt.hpp"
#include "in_child.hpp"

using namespace flr;
using namespace flr::train;

TEST_CASE("Ctrl-C asks once") {
  InterruptGuard guard;
  CHECK_FALSE(guard.requested());
  CHECK_THROWS_AS(InterruptGuard(), Error);
  const int saved =
      ::dup(STDERR_FILENO);  // the handler's line does not belong into the test's output
  std::FILE* nowhere = std::fopen("/dev/null", "w");
  ::dup2(::fileno(nowhere), STDERR_FILENO);
  ::raise(SIGINT);
  const int status = in_child([] { ::raise(SIGTERM); });  // the second signal, in a copy of us
  ::dup2(saved, STDERR_FILENO);
  ::close(saved);
  std::fclose(nowhere);
  CHECK(guard.requested());
  CHECK(guard.signal() == SIGINT);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 128 + SIGTERM);
}

TEST_CASE("without a guard, signals do what they did before") {
  const auto handler = [] {
    struct sigaction action = {};
    ::sigaction(SIGINT, nullptr, &action);
    return action.sa_handler;
  };
  const auto before = handler();
  {
    const InterruptGuard guard;
    CHECK((handler() != before));
    CHECK_FALSE(guard.requested());  // an earlier guard's signal is forgotten
  }
  CHECK((handler() == before));
}

TEST_CASE("a closed terminal asks too, unless it was to be ignored") {
  const auto asked = [](auto handler) {
    return WEXITSTATUS(in_child([&] {
      std::signal(SIGHUP, handler);
      ::close(STDERR_FILENO);  // the terminal is gone
      const InterruptGuard guard;
      ::raise(SIGHUP);
      ::_exit(guard.signal());
    }));
  };
  CHECK(asked(SIG_DFL) == SIGHUP);
  CHECK(asked(SIG_IGN) == 0);
}
