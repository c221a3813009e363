// Threads and working memory: what happens when a chunk fails, and that memory comes back.
#include <doctest/doctest.h>

#include <atomic>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "flr/core/backend.hpp"
#include "flr/core/parallel.hpp"
#include "flr/core/scratch.hpp"

using namespace flr;

TEST_CASE("an exception in a chunk leaves parallel_for, on any number of threads") {
  for (const int threads : {1, 2, 5}) {
    set_num_threads(threads);
    std::string message;
    try {
      parallel_for(100, [](index_t i) {
        if (i >= 40) throw std::runtime_error("chunk failed");
      });
    } catch (const std::runtime_error& e) {
      message = e.what();
    }
    CHECK(message == "chunk failed");
    // Threads are ready for the next region.
    std::atomic<index_t> sum = 0;
    parallel_for(100, [&](index_t i) { sum += i; });
    CHECK(sum == 4950);
  }
  set_num_threads(0);
}

TEST_CASE("working memory that cannot be had is an Error, not the end of the program") {
  set_num_threads(2);
  CHECK_THROWS_AS(parallel_for(4, [](index_t) { detail::Scratch<double> s(index_t{1} << 55); }),
                  Error);
  set_num_threads(0);
}

TEST_CASE("blocks of working memory in use never overlap, and serve again") {
  for (int round = 0; round < 3; ++round) {
    const detail::Scratch<int> none(0);
    CHECK(none.data() == nullptr);
    detail::Scratch<int> a(5000), b(5001), c(70000), d(3000000), e(1025);
    detail::Scratch<int>* const all[] = {&a, &b, &c, &d, &e};
    const index_t count[] = {5000, 5001, 70000, 3000000, 1025};
    for (int k = 0; k < 5; ++k) {
      CHECK(reinterpret_cast<std::uintptr_t>(all[k]->data()) % 64 == 0);
      for (index_t i = 0; i < count[k]; ++i) (*all[k])[i] = k;
    }
    for (int k = 0; k < 5; ++k) CHECK(((*all[k])[0] == k && (*all[k])[count[k] - 1] == k));
  }
}
