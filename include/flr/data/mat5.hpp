// MATLAB's .mat files, version 5 (save -v6 and -v7). Format: MathWorks, "MAT-File Format", Level 5.
// Numeric and logical arrays are read; other variables are listed and refused when asked for.
#pragma once

#include <map>
#include <optional>

#include "flr/data/array.hpp"
#include "flr/data/file.hpp"

namespace flr::data {

struct MatVariable {
  std::string name;
  std::string kind;  ///< MATLAB's class: "double", "logical", "struct", "cell", …
  bool complex = false;
  bool readable = false;  ///< a real numeric or logical array
  ArrayInfo info;         ///< meaningful where readable
};

/// An open file: the variables are known, elements are read when they are asked for, one variable
/// at a time. Compressed variables and both byte orders are read. A version 7.3 file (HDF5) is
/// refused with the way to convert it.
class MatFile {
 public:
  explicit MatFile(const std::filesystem::path& path) : MatFile(Source(path)) {}
  /// A buffer in memory must outlive the object.
  explicit MatFile(const Source& source);

  const std::vector<MatVariable>& variables() const { return variables_; }
  bool contains(const std::string& name) const;

  /// One variable in row-major order under MATLAB's extents (so at least two axes); `as` converts
  /// while reading, so that a large double array becomes float without ever being held as double.
  /// Element (i, j, k) of the result is MATLAB's (i+1, j+1, k+1).
  Array read(const std::string& name, std::optional<ElementType> as = {}) const;

 private:
  struct Place {
    std::uint64_t offset = 0, length = 0;
    bool compressed = false;
  };
  const MatVariable& find(const std::string& name, Place& place) const;

  Source source_;
  bool big_endian_ = false;
  std::vector<MatVariable> variables_;
  std::vector<Place> places_;
};

/// Every readable variable of a file.
std::map<std::string, Array> parse_mat5(std::span<const std::byte> bytes,
                                        const std::string& name = "memory");

enum class MatForm { plain, compressed };

/// Writes real arrays that MATLAB and SciPy load. An array of one axis becomes a row, a scalar 1×1;
/// bfloat16 is refused. Names must be MATLAB's: a letter, then letters, digits, underscores, at
/// most
/// 63. The format counts bytes in 32 bits, so a variable of 4 GiB is refused. Deterministic.
void write_mat5(const std::filesystem::path& path, const std::map<std::string, Array>& arrays,
                MatForm form = MatForm::compressed);

}  // namespace flr::data
