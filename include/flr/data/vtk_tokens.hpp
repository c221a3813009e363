// Words, lines and runs of numbers of a legacy .vtk file. Used by the reader only.
#pragma once

#include "flr/data/array.hpp"
#include "flr/data/file.hpp"

namespace flr::data {

class VtkTokens {
 public:
  explicit VtkTokens(const Source& source) : source_(source) {}

  /// Whether numbers are big-endian bytes; words and lines are text in any case.
  bool binary = false;

  const std::string& name() const { return source_.name(); }

  /// The rest of this line.
  std::string line();
  /// The next word; empty at the end of the file.
  std::string word();
  /// Whether another word stands on this line.
  bool more_on_line();
  /// The next word as a number of at least 0.
  std::int64_t count();
  /// The next word as the name of a number type.
  ElementType type();
  /// The numbers that follow; checks before it allocates that the file can hold them.
  Array numbers(ElementType type, std::vector<std::int64_t> shape);

 private:
  template <class T>
  T number();
  std::uint64_t position() const { return block_start_ + at_; }
  void seek(std::uint64_t position);
  int peek();
  int take();

  Source source_;
  std::vector<std::byte> block_;
  std::uint64_t block_start_ = 0;
  std::size_t at_ = 0;
};

}  // namespace flr::data
