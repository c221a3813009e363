// The opt-in libraries link on their own.
#include <flr/data.hpp>
#include <flr/flr.hpp>
#include <flr/train.hpp>

#include <cstdio>

int main() {
  try {
    flr::data::read_npz("absent.npz");
  } catch (const flr::Error& error) {
    std::printf("%s\n", error.what());
    return 0;
  }
  return 1;
}
