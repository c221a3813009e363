// Compressed bytes, as zip archives (raw deflate) and MATLAB files (zlib) hold them.
#pragma once

#include "flr/data/file.hpp"

namespace flr::data {

enum class DeflateForm { raw, zlib };

/// Inflates another stream, which must outlive this one.
class InflateStream final : public Stream {
 public:
  /// `limit`: the inflated size where the file declares it. A larger one than deflate can pack into
  /// the bytes of `in` (1032 : 1) is refused here.
  InflateStream(Stream& in, DeflateForm form, std::uint64_t limit);
  /// Without a declared size the limit is what deflate can pack.
  InflateStream(Stream& in, DeflateForm form);
  ~InflateStream() override;

  void read(std::span<std::byte> out) override;
  std::uint64_t remaining() const override;
  const std::string& name() const override;
  /// Refuses unless everything has been read, the stream ends here, and its checksum agrees.
  void finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Deflates into a sink, which must outlive this one.
class DeflateWriter {
 public:
  DeflateWriter(Sink& out, DeflateForm form);
  ~DeflateWriter();
  void write(std::span<const std::byte> bytes);
  /// Must be called once, at the end.
  void finish();

 private:
  struct State;
  void run(std::span<const std::byte> bytes, int flush);
  std::unique_ptr<State> state_;
};

/// CRC-32 of zip archives, continued from `crc` (0 at the start).
std::uint32_t crc32_of(std::uint32_t crc, std::span<const std::byte> bytes);

}  // namespace flr::data
