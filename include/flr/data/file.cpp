#include "flr/data/file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>

namespace flr::data {

namespace {

std::string reason(int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT: return "there is no space left on the device";
    case EROFS:
    case EACCES:
    case EPERM: return "permission is denied";
    case ENOENT: return "it does not exist";
    default: return std::strerror(error);
  }
}

// One call moves at most 2 GiB on Linux; asking for less keeps the arithmetic signed-safe.
constexpr std::size_t max_transfer = std::size_t{1} << 30;

class FileSink final : public Sink {
 public:
  FileSink(int file, const std::string& target) : file_(file), target_(target) {
    buffer_.reserve(buffer_size);
  }
  void write(std::span<const std::byte> bytes) override {
    if (buffer_.size() + bytes.size() > buffer_size) flush();
    if (bytes.size() >= buffer_size) {
      put(bytes, flushed_);
      flushed_ += bytes.size();
    } else {
      buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
    }
  }
  void overwrite(std::uint64_t offset, std::span<const std::byte> bytes) override {
    flush();
    check(offset <= flushed_ && bytes.size() <= flushed_ - offset,
          "[write] {}: expected to overwrite written bytes; got offset {}", target_, offset);
    put(bytes, offset);
  }
  std::uint64_t position() const override { return flushed_ + buffer_.size(); }
  void flush() {
    put(buffer_, flushed_);
    flushed_ += buffer_.size();
    buffer_.clear();
  }

 private:
  static constexpr std::size_t buffer_size = 1u << 16;

  void put(std::span<const std::byte> bytes, std::uint64_t offset) {
    while (!bytes.empty()) {
      const ssize_t n = ::pwrite(file_, bytes.data(), std::min(bytes.size(), max_transfer),
                                 static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      check(n > 0, "[write] {} cannot be written: {}", target_, reason(n < 0 ? errno : ENOSPC));
      bytes = bytes.subspan(static_cast<std::size_t>(n));
      offset += static_cast<std::uint64_t>(n);
    }
  }

  int file_;
  const std::string& target_;
  std::vector<std::byte> buffer_;
  std::uint64_t flushed_ = 0;
};

// Owns the temporary file until it is renamed.
class Temporary {
 public:
  explicit Temporary(const std::filesystem::path& target) : target_(target) {
    static std::atomic<unsigned> counter{0};
    do {
      path_ = target.parent_path() / ("." + target.filename().string() + ".tmp-" +
                                      std::to_string(::getpid()) + "-" + std::to_string(counter++));
      file_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    } while (file_ < 0 && errno == EEXIST);
    if (file_ < 0) {
      const std::string folder = target.parent_path().string();
      fail("[write] {} cannot be written in folder {}: {}", target.string(),
           folder.empty() ? "." : folder, reason(errno));
    }
  }
  ~Temporary() {
    if (file_ >= 0) ::close(file_);
    if (!renamed_) ::unlink(path_.c_str());
  }
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;

  int file() const { return file_; }

  void commit() {
    require(::fsync(file_) == 0);
    const int file = std::exchange(file_, -1);
    require(::close(file) == 0);
    require(::rename(path_.c_str(), target_.c_str()) == 0);
    renamed_ = true;
    // The rename itself survives a power cut only once the folder is synced; file systems that
    // cannot sync a folder are left to their own devices.
    const auto folder = target_.has_parent_path() ? target_.parent_path() : ".";
    if (const int dir = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); dir >= 0) {
      ::fsync(dir);
      ::close(dir);
    }
  }

 private:
  void require(bool done) const {
    const int error = errno;
    check(done, "[write] {} cannot be written: {}", target_.string(), reason(error));
  }

  std::filesystem::path target_, path_;
  int file_ = -1;
  bool renamed_ = false;
};

}  // namespace

Source::Source(const std::filesystem::path& file) : name_(file.string()) {
  // O_NONBLOCK: opening a named pipe must end in a sentence, not wait for a writer.
  const int descriptor = ::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  check(descriptor >= 0, "[read] {} cannot be opened: {}", name_, reason(errno));
  file_ = std::shared_ptr<const int>(new int(descriptor), [](const int* d) {
    ::close(*d);
    delete d;
  });
  struct stat status = {};
  check(::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode),
        "[read] {} is not a regular file", name_);
  size_ = static_cast<std::uint64_t>(status.st_size);
}

Source::Source(std::span<const std::byte> bytes, std::string name)
    : bytes_(bytes), name_(std::move(name)), size_(bytes.size()) {}

Source Source::renamed(std::string name) const {
  Source copy = *this;
  copy.name_ = std::move(name);
  return copy;
}

void Source::read(std::uint64_t offset, std::span<std::byte> out) const {
  check(offset <= size_ && out.size() <= size_ - offset,
        "[read] {} is truncated: expected {} bytes at offset {}; it has {} in all", name_,
        out.size(), offset, size_);
  if (out.empty()) return;
  if (!file_) {
    std::memcpy(out.data(), bytes_.data() + offset, out.size());
    return;
  }
  while (!out.empty()) {
    const ssize_t n =
        ::pread(*file_, out.data(), std::min(out.size(), max_transfer), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    check(n >= 0, "[read] {} cannot be read: {}", name_, reason(errno));
    check(n > 0, "[read] {} became shorter while it was read", name_);
    out = out.subspan(static_cast<std::size_t>(n));
    offset += static_cast<std::uint64_t>(n);
  }
}

void Stream::skip(std::uint64_t bytes) {
  std::array<std::byte, 4096> scratch;
  while (bytes > 0) {
    const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(bytes, scratch.size()));
    read(std::span(scratch).first(n));
    bytes -= n;
  }
}

SourceStream::SourceStream(const Source& source, std::uint64_t offset, std::uint64_t length)
    : source_(source), offset_(offset), remaining_(length) {
  check(offset <= source.size() && length <= source.size() - offset,
        "[read] {} is truncated: expected {} bytes at offset {}; it has {} in all", source.name(),
        length, offset, source.size());
}

void SourceStream::read(std::span<std::byte> out) {
  check(out.size() <= remaining_, "[read] {} is truncated: expected {} more bytes; got {}", name(),
        out.size(), remaining_);
  source_.read(offset_, out);
  offset_ += out.size();
  remaining_ -= out.size();
}

LimitedStream::LimitedStream(Stream& inner, std::uint64_t length)
    : inner_(inner), remaining_(length) {
  check(length <= inner.remaining(), "[read] {} is truncated: expected {} more bytes; got {}",
        inner.name(), length, inner.remaining());
}

void LimitedStream::read(std::span<std::byte> out) {
  check(out.size() <= remaining_,
        "[read] {} is damaged: expected {} more bytes in one of its parts; got {}", name(),
        out.size(), remaining_);
  inner_.read(out);
  remaining_ -= out.size();
}

void atomic_write(const std::filesystem::path& path, const std::function<void(Sink&)>& body) {
  std::error_code ignored;
  const auto status = std::filesystem::status(path, ignored);
  check(!std::filesystem::exists(status) || std::filesystem::is_regular_file(status),
        "[write] {} exists and is not a regular file", path.string());
  auto target = path;
  if (std::filesystem::is_symlink(path, ignored)) {
    const auto resolved = std::filesystem::weakly_canonical(path, ignored);
    if (!ignored) target = resolved;
  }
  const std::string name = path.string();
  Temporary temporary(target);
  FileSink sink(temporary.file(), name);
  body(sink);
  sink.flush();
  temporary.commit();
}

void atomic_write(const std::filesystem::path& path, std::string_view text) {
  atomic_write(path, [&](Sink& sink) { sink.write(text); });
}

std::string read_text(const std::filesystem::path& path, std::uint64_t limit) {
  const Source source(path);
  check(source.size() <= limit, "[read] {}: expected at most {} bytes; got {}", source.name(),
        limit, source.size());
  std::string text(static_cast<std::size_t>(source.size()), '\0');
  source.read(0, std::as_writable_bytes(std::span(text.data(), text.size())));
  return text;
}

}  // namespace flr::data
