#include "work.hpp"

int main(int argc, char** argv) {
  return work_on(argc > 1 ? argv[1] : "cpu");
}
