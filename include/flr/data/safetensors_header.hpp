// The JSON header of a safetensors file, read strictly. Used by the reader only.
#pragma once

#include <map>

#include "flr/data/elements.hpp"

namespace flr::data {

struct SafeTensorsHeader {
  struct Tensor {
    StoredElement stored;
    std::vector<std::int64_t> shape;
    std::uint64_t begin = 0, end = 0;  ///< bytes, from the end of the header
  };
  std::map<std::string, Tensor> tensors;
  std::map<std::string, std::string> metadata;
};

/// Parses the header's text; `file` is for messages, `data_size` the number of bytes that follow.
SafeTensorsHeader parse_safetensors_header(const std::string& text, const std::string& file,
                                           std::uint64_t data_size);

}  // namespace flr::data
