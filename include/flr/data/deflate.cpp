#include "flr/data/deflate.hpp"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <limits>

namespace flr::data {

namespace {

constexpr std::uint64_t max_ratio = 1032;  // a 258-byte match takes at least two bits

// zlib counts in 32 bits.
constexpr std::size_t max_step = std::size_t{1} << 30;

int window_bits(DeflateForm form) {
  return form == DeflateForm::raw ? -MAX_WBITS : MAX_WBITS;
}

Bytef* zlib_pointer(const std::byte* bytes) {
  return const_cast<Bytef*>(reinterpret_cast<const Bytef*>(bytes));
}

std::uint64_t capacity(const Stream& in) {
  const std::uint64_t bytes = in.remaining();
  return bytes > std::numeric_limits<std::uint64_t>::max() / max_ratio
             ? std::numeric_limits<std::uint64_t>::max()
             : bytes * max_ratio;
}

}  // namespace

struct InflateStream::State {
  Stream& in;
  std::uint64_t remaining;
  bool ended = false;
  z_stream z = {};
  std::array<std::byte, 1 << 15> buffer;

  State(Stream& stream, DeflateForm form, std::uint64_t limit) : in(stream), remaining(limit) {
    check(::inflateInit2(&z, window_bits(form)) == Z_OK, "[inflate] zlib cannot start");
  }
  ~State() { ::inflateEnd(&z); }

  // Fills as much of `out` as one step yields; nothing only at the end of the stream.
  std::size_t step(std::span<std::byte> out) {
    z.next_out = zlib_pointer(out.data());
    z.avail_out = static_cast<uInt>(std::min(out.size(), max_step));
    const uInt wanted = z.avail_out;
    while (!ended && z.avail_out == wanted) {
      if (z.avail_in == 0 && in.remaining() > 0) {
        const auto n =
            static_cast<std::size_t>(std::min<std::uint64_t>(in.remaining(), buffer.size()));
        in.read(std::span(buffer).first(n));
        z.next_in = zlib_pointer(buffer.data());
        z.avail_in = static_cast<uInt>(n);
      }
      const int status = ::inflate(&z, Z_NO_FLUSH);
      check(status == Z_OK || status == Z_STREAM_END, "[inflate] {} is damaged: {}", in.name(),
            status == Z_BUF_ERROR ? "its compressed data ends too soon"
            : z.msg               ? z.msg
                                  : "its compressed data cannot be read");
      ended = status == Z_STREAM_END;
    }
    return wanted - z.avail_out;
  }
};

InflateStream::InflateStream(Stream& in, DeflateForm form, std::uint64_t limit) {
  check(limit <= capacity(in),
        "[inflate] {} is damaged: {} compressed bytes cannot hold the declared {}", in.name(),
        in.remaining(), limit);
  state_ = std::make_unique<State>(in, form, limit);
}

InflateStream::InflateStream(Stream& in, DeflateForm form)
    : InflateStream(in, form, capacity(in)) {}

InflateStream::~InflateStream() = default;

void InflateStream::read(std::span<std::byte> out) {
  State& s = *state_;
  check(out.size() <= s.remaining,
        "[inflate] {} is damaged: expected {} more bytes; its compressed data holds {}", name(),
        out.size(), s.remaining);
  while (!out.empty()) {
    const std::size_t n = s.step(out);
    check(n > 0, "[inflate] {} is damaged: expected {} more bytes; its compressed data ends",
          name(), out.size());
    out = out.subspan(n);
    s.remaining -= n;
  }
}

std::uint64_t InflateStream::remaining() const {
  return state_->remaining;
}
const std::string& InflateStream::name() const {
  return state_->in.name();
}

void InflateStream::finish() {
  std::byte extra;
  check(state_->step(std::span(&extra, 1)) == 0 && state_->z.avail_in == 0 &&
            state_->in.remaining() == 0,
        "[inflate] {} is damaged: its compressed data goes on after the declared size", name());
}

struct DeflateWriter::State {
  Sink& out;
  z_stream z = {};
  std::array<std::byte, 1 << 15> buffer;

  State(Sink& sink, DeflateForm form) : out(sink) {
    check(::deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, window_bits(form), 8,
                         Z_DEFAULT_STRATEGY) == Z_OK,
          "[deflate] zlib cannot start");
  }
  ~State() { ::deflateEnd(&z); }
};

DeflateWriter::DeflateWriter(Sink& out, DeflateForm form)
    : state_(std::make_unique<State>(out, form)) {}
DeflateWriter::~DeflateWriter() = default;

void DeflateWriter::run(std::span<const std::byte> bytes, int flush) {
  State& s = *state_;
  s.z.next_in = zlib_pointer(bytes.data());
  s.z.avail_in = static_cast<uInt>(bytes.size());
  do {
    s.z.next_out = zlib_pointer(s.buffer.data());
    s.z.avail_out = static_cast<uInt>(s.buffer.size());
    check(::deflate(&s.z, flush) != Z_STREAM_ERROR, "[deflate] zlib refused its input");
    s.out.write(std::span(s.buffer).first(s.buffer.size() - s.z.avail_out));
  } while (s.z.avail_out == 0);
}

void DeflateWriter::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const auto part = bytes.first(std::min(bytes.size(), max_step));
    run(part, Z_NO_FLUSH);
    bytes = bytes.subspan(part.size());
  }
}

void DeflateWriter::finish() {
  run({}, Z_FINISH);
}

std::uint32_t crc32_of(std::uint32_t crc, std::span<const std::byte> bytes) {
  if (bytes.empty()) return crc;  // zlib takes a null pointer as "start again"
  return static_cast<std::uint32_t>(::crc32_z(crc, zlib_pointer(bytes.data()), bytes.size()));
}

}  // namespace flr::data
