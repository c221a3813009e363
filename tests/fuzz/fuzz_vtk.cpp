// Any bytes given to the vtk reader end in an array or in flr::Error. Built and run by tools/fuzz.
#include <span>

#include "flr/data/vtk.hpp"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  try {
    (void)flr::data::parse_vtk(bytes).uniform_cells();
  } catch (const flr::Error&) {
  }
  return 0;
}
