// What main does in every training program.
#pragma once

#include <fmt/core.h>

#include <cstdio>
#include <exception>
#include <new>

#include "patience.hpp"

namespace program {

/// body() returns the exit code; an error is one sentence on stderr and exit code 1.
template <class Body>
int run_program(const char* name, char** argv, Body&& body) {
  choose_patience(argv);
  std::setvbuf(stdout, nullptr, _IOLBF, 0);  // in a log, lines stand in their order
  try {
    return body();
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "{}: the memory does not suffice; a smaller batch or model needs less\n",
               name);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}: {}\n", name, error.what());
  }
  return 1;
}

}  // namespace program
