// NumPy's .npy: one array. Format: numpy.lib.format, versions 1.0, 2.0 and 3.0.
#pragma once

#include "flr/data/array.hpp"
#include "flr/data/file.hpp"

namespace flr::data {

/// Reads an array: C or Fortran order, either byte order, bool, integers and floats (float16 comes
/// back as float32). Object, structured, string and complex arrays are refused by name; so is a
/// file with less or more bytes than its header declares.
Array read_npy(const std::filesystem::path& path);
Array parse_npy(std::span<const std::byte> bytes, const std::string& name = "memory");
/// The whole of a stream (an entry of an archive).
Array read_npy(Stream& stream);

/// Element type and shape, from the header alone.
ArrayInfo inspect_npy(const std::filesystem::path& path);
ArrayInfo inspect_npy(Stream& stream);

/// Writes version 1.0, little-endian, C order. bfloat16 is refused: the format has no such type.
void write_npy(const std::filesystem::path& path, const Array& array);
/// The bytes that come before the elements, a multiple of 64.
std::string npy_header(const ArrayInfo& info);

}  // namespace flr::data
