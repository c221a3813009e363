// Bytes in and bytes out: what every reader and writer of this folder stands on.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "flr/core/error.hpp"

namespace flr::data {

/// Bytes that a reader can ask for at any offset: a regular file, or a buffer in memory (which must
/// outlive the source). Copies are cheap and share the file.
class Source {
 public:
  explicit Source(const std::filesystem::path& file);
  explicit Source(std::span<const std::byte> bytes, std::string name = "memory");

  std::uint64_t size() const { return size_; }
  /// The file's path, for messages.
  const std::string& name() const { return name_; }
  /// The same bytes under another name for messages.
  Source renamed(std::string name) const;
  /// Fills `out` from `offset`; refuses to read beyond the end.
  void read(std::uint64_t offset, std::span<std::byte> out) const;

 private:
  std::shared_ptr<const int> file_;  // an open descriptor; null for memory
  std::span<const std::byte> bytes_;
  std::string name_;
  std::uint64_t size_ = 0;
};

/// Bytes in sequence. `remaining` never says less than what can still come, so a reader that checks
/// a declared size against it before it allocates cannot be made to allocate more than that.
class Stream {
 public:
  virtual ~Stream() = default;
  /// Fills `out`, or refuses with a sentence that names the file.
  virtual void read(std::span<std::byte> out) = 0;
  virtual std::uint64_t remaining() const = 0;
  virtual const std::string& name() const = 0;
  void skip(std::uint64_t bytes);
};

/// `length` bytes of a source from `offset` on.
class SourceStream final : public Stream {
 public:
  SourceStream(const Source& source, std::uint64_t offset, std::uint64_t length);
  explicit SourceStream(const Source& source) : SourceStream(source, 0, source.size()) {}
  void read(std::span<std::byte> out) override;
  std::uint64_t remaining() const override { return remaining_; }
  const std::string& name() const override { return source_.name(); }

 private:
  Source source_;
  std::uint64_t offset_, remaining_;
};

/// The next `length` bytes of another stream, which must outlive this one.
class LimitedStream final : public Stream {
 public:
  LimitedStream(Stream& inner, std::uint64_t length);
  void read(std::span<std::byte> out) override;
  std::uint64_t remaining() const override { return remaining_; }
  const std::string& name() const override { return inner_.name(); }

 private:
  Stream& inner_;
  std::uint64_t remaining_;
};

/// Where a writer's bytes go.
class Sink {
 public:
  virtual ~Sink() = default;
  virtual void write(std::span<const std::byte> bytes) = 0;
  /// Replaces bytes that were written earlier (sizes that are known only afterwards).
  virtual void overwrite(std::uint64_t offset, std::span<const std::byte> bytes) = 0;
  /// The number of bytes written so far.
  virtual std::uint64_t position() const = 0;
  void write(std::string_view text) { write(std::as_bytes(std::span(text.data(), text.size()))); }
};

/// Little-endian bytes of an integer.
template <std::integral T>
void append_le(std::string& to, T value) {
  for (std::size_t i = 0; i < sizeof(T); ++i)
    to += static_cast<char>(static_cast<std::uint64_t>(value) >> (8 * i));
}
template <std::unsigned_integral T>
T load_le(std::span<const std::byte> from, std::size_t offset = 0) {
  T value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i)
    value |= static_cast<T>(static_cast<T>(from[offset + i]) << (8 * i));
  return value;
}

/// Writes a file so that nobody ever sees half of it: `body` fills a temporary file in the same
/// folder, which is synced and renamed over `path`. A failure (no space, a folder that cannot be
/// written, an exception of `body`) removes the temporary file, leaves what stood at `path`, and
/// throws. A symbolic link keeps pointing where it did; its target is replaced.
void atomic_write(const std::filesystem::path& path, const std::function<void(Sink&)>& body);
void atomic_write(const std::filesystem::path& path, std::string_view text);

/// A whole small file; refuses one of more than `limit` bytes.
std::string read_text(const std::filesystem::path& path, std::uint64_t limit = 64u << 20);

}  // namespace flr::data
