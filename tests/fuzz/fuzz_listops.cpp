// Any text given to ListOps' tokeniser ends in tokens or in flr::Error; tokens have a value or are
// refused; an expression that has one survives being printed. Built and run by tools/fuzz.
#include <cstdlib>
#include <string_view>

#include "flr/data/listops.hpp"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  try {
    const auto tokens =
        flr::data::listops_tokens(std::string_view(reinterpret_cast<const char*>(data), size));
    (void)flr::data::listops_value(tokens);
    if (flr::data::listops_tokens(flr::data::listops_text(tokens)) != tokens) std::abort();
  } catch (const flr::Error&) {
  }
  return 0;
}
