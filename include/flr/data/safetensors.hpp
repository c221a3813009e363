// Safetensors: named arrays and a map of strings, the format of checkpoints and weights.
// Format: https://github.com/huggingface/safetensors (8-byte header length, JSON, raw data).
#pragma once

#include <map>

#include "flr/data/array.hpp"
#include "flr/data/file.hpp"

namespace flr::data {

struct SafeTensors {
  std::map<std::string, Array> tensors;
  std::map<std::string, std::string> metadata;

  bool contains(const std::string& name) const { return tensors.contains(name); }
  /// Refuses an unknown name by naming it.
  const Array& at(const std::string& name) const;
};

/// Reads a file that follows the format to the letter: known keys only, sizes that agree, data
/// without holes or overlaps, no name twice. F16 comes back as float32; 8-bit floats are refused.
SafeTensors read_safetensors(const std::filesystem::path& path);
SafeTensors parse_safetensors(std::span<const std::byte> bytes, const std::string& name = "memory");

/// What a file holds, without its elements.
struct SafeTensorsIndex {
  std::map<std::string, ArrayInfo> tensors;
  std::map<std::string, std::string> metadata;
};
SafeTensorsIndex inspect_safetensors(const std::filesystem::path& path);

/// Writes atomically. The same content gives the same bytes: wider types first (so that elements
/// are aligned), then by name. Names and metadata must be UTF-8.
void write_safetensors(const std::filesystem::path& path, const SafeTensors& content);

}  // namespace flr::data
