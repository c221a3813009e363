// NumPy's .npz: a zip archive of .npy files, stored or deflated, zip64 where needed.
// Format: PKWARE APPNOTE 6.3, as Python's zipfile writes and reads it.
#pragma once

#include <map>

#include "flr/data/array.hpp"
#include "flr/data/file.hpp"

namespace flr::data {

/// An open archive: names are known, elements are read when they are asked for. The central
/// directory is checked on opening (bounds, duplicate names, entries that overlap).
class NpzFile {
 public:
  explicit NpzFile(const std::filesystem::path& path) : NpzFile(Source(path)) {}
  /// A buffer in memory must outlive the archive.
  explicit NpzFile(const Source& source);

  /// Names in the archive's order, without ".npy". Members of other kinds are left out.
  const std::vector<std::string>& names() const { return names_; }
  bool contains(const std::string& name) const { return entries_.contains(name); }
  /// Element type and shape, without reading the elements.
  ArrayInfo inspect(const std::string& name) const;
  /// One array; its CRC is checked. An unknown name is refused with the list of names.
  Array read(const std::string& name) const;

 private:
  struct Entry {
    std::uint64_t offset = 0, compressed = 0, size = 0;
    std::uint32_t crc = 0;
    bool deflated = false;
  };
  template <class Use>
  auto open(const std::string& name, Use&& use) const;

  Source source_;
  std::vector<std::string> names_;
  std::map<std::string, Entry> entries_;
};

enum class NpzForm { stored, deflated };

/// Every array of an archive.
std::map<std::string, Array> read_npz(const std::filesystem::path& path);
std::map<std::string, Array> parse_npz(std::span<const std::byte> bytes,
                                       const std::string& name = "memory");

/// Writes the arrays in the order of their names; the same arrays give the same bytes.
void write_npz(const std::filesystem::path& path, const std::map<std::string, Array>& arrays,
               NpzForm form = NpzForm::stored);

}  // namespace flr::data
