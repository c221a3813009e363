// The central directory of a zip archive: which members there are and where their bytes lie.
#pragma once

#include "flr/data/file.hpp"

namespace flr::data {

struct ZipMember {
  std::string name;
  std::uint64_t offset = 0;      ///< of the data, behind the member's local header
  std::uint64_t compressed = 0;  ///< bytes of data in the archive
  std::uint64_t size = 0;        ///< bytes once inflated
  std::uint32_t crc = 0;
  bool deflated = false;
};

/// Reads and checks the directory (with zip64): every member lies inside the file in front of the
/// directory, no two overlap, names are unique, methods are stored or deflated, nothing is
/// encrypted or split over several disks. Sizes come from the directory, so members written with a
/// data descriptor are read as any other.
std::vector<ZipMember> read_zip_directory(const Source& source);

}  // namespace flr::data
