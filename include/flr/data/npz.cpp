#include "flr/data/npz.hpp"

#include <fmt/ranges.h>

#include "flr/data/deflate.hpp"
#include "flr/data/elements.hpp"
#include "flr/data/npy.hpp"
#include "flr/data/zip_directory.hpp"

namespace flr::data {

namespace {

constexpr std::string_view suffix = ".npy";

// Passes bytes on and sums them up.
class CrcStream final : public Stream {
 public:
  explicit CrcStream(Stream& inner) : inner_(inner) {}
  void read(std::span<std::byte> out) override {
    inner_.read(out);
    crc_ = crc32_of(crc_, out);
  }
  std::uint64_t remaining() const override { return inner_.remaining(); }
  const std::string& name() const override { return inner_.name(); }
  std::uint32_t crc() const { return crc_; }

 private:
  Stream& inner_;
  std::uint32_t crc_ = 0;
};

}  // namespace

NpzFile::NpzFile(const Source& source) : source_(source) {
  for (ZipMember& member : read_zip_directory(source_)) {
    if (!member.name.ends_with(suffix)) continue;
    member.name.resize(member.name.size() - suffix.size());
    names_.push_back(member.name);
    entries_[member.name] = {member.offset, member.compressed, member.size, member.crc,
                             member.deflated};
  }
}

template <class Use>
auto NpzFile::open(const std::string& name, Use&& use) const {
  const auto found = entries_.find(name);
  if (found == entries_.end())
    fail("[npz] {} has no array '{}'; it has: {}", source_.name(), name, fmt::join(names_, ", "));
  const Entry& entry = found->second;
  // Messages of the readers below then name the member too.
  const Source member = source_.renamed(source_.name() + ":" + name);
  SourceStream stream(member, entry.offset, entry.compressed);
  if (!entry.deflated) return use(entry, stream, [] {});
  InflateStream inflated(stream, DeflateForm::raw, entry.size);
  return use(entry, inflated, [&] { inflated.finish(); });
}

Array NpzFile::read(const std::string& name) const {
  return open(name, [](const Entry& entry, Stream& stream, auto&& finish) {
    CrcStream summed(stream);
    Array array = read_npy(summed);
    finish();
    check(summed.crc() == entry.crc, "[npz] {} is damaged: expected CRC {:08x}; got {:08x}",
          stream.name(), entry.crc, summed.crc());
    return array;
  });
}

ArrayInfo NpzFile::inspect(const std::string& name) const {
  return open(name, [](const Entry&, Stream& stream, auto&&) { return inspect_npy(stream); });
}

std::map<std::string, Array> read_npz(const std::filesystem::path& path) {
  const NpzFile file(path);
  std::map<std::string, Array> arrays;
  for (const std::string& name : file.names()) arrays.emplace(name, file.read(name));
  return arrays;
}

std::map<std::string, Array> parse_npz(std::span<const std::byte> bytes, const std::string& name) {
  const NpzFile file(Source(bytes, name));
  std::map<std::string, Array> arrays;
  for (const std::string& entry : file.names()) arrays.emplace(entry, file.read(entry));
  return arrays;
}

}  // namespace flr::data
