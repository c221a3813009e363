// One plain YAML value, read and written (YAML 1.1's scalars as PyYAML resolves them).
#pragma once

#include <string>
#include <string_view>

#include "flr/train/run_config.hpp"

namespace flr::train::detail {

/// The value that `text` (without the key, comment included) stands for. `where` begins the message
/// of an error.
ConfigValue parse_yaml_scalar(std::string_view text, const std::string& where);

}  // namespace flr::train::detail
