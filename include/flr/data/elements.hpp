// The elements of an array as a file lays them out: byte order, stored type, row- or column-major.
#pragma once

#include "flr/data/array.hpp"
#include "flr/data/file.hpp"

namespace flr::data {

/// How one element lies in a file. `half` is IEEE half precision, which arrays hold as float: its
/// type is f32.
struct StoredElement {
  ElementType type = ElementType::f32;
  bool half = false;
  bool big_endian = false;

  std::int64_t size() const { return half ? 2 : size_of(type); }
};

/// Reads an array of `shape`, converted to `to` as convert_elements does, from the next bytes of a
/// stream. Checks before it allocates that the stream can hold the elements. Column-major arrays
/// are turned into row-major order through a buffer of one slab of the last axis (at least 16 MiB),
/// so that a large array is not held twice.
Array read_elements(Stream& stream, StoredElement stored, ElementType to,
                    std::vector<std::int64_t> shape, bool column_major = false);

/// Writes the elements little-endian, row-major as they are or turned into column-major order
/// through a buffer as above.
void write_elements(Sink& sink, const Array& array, bool column_major = false);
/// The same, to a function that takes the bytes in order.
void write_elements(const std::function<void(std::span<const std::byte>)>& emit, const Array& array,
                    bool column_major);

}  // namespace flr::data
