#include "flr/data/zip_directory.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <set>

namespace flr::data {

namespace {

constexpr std::uint32_t end_signature = 0x06054b50, end64_signature = 0x06064b50,
                        locator_signature = 0x07064b50, central_signature = 0x02014b50,
                        local_signature = 0x04034b50;
constexpr std::size_t end_size = 22, locator_size = 20, end64_size = 56, central_size = 46,
                      local_size = 30;

struct Directory {
  std::uint64_t offset = 0, size = 0, count = 0;
};

// The end record is followed by a comment of up to 65535 bytes, so it is searched from the back.
Directory find_directory(const Source& source) {
  const std::uint64_t span = std::min<std::uint64_t>(source.size(), end_size + 0xffff);
  const std::uint64_t start = source.size() - span;
  std::vector<std::byte> tail(static_cast<std::size_t>(span));
  source.read(start, tail);
  std::optional<std::size_t> at;
  for (std::size_t i = tail.size() < end_size ? 0 : tail.size() - end_size + 1; i-- > 0;)
    if (load_le<std::uint32_t>(tail, i) == end_signature &&
        i + end_size + load_le<std::uint16_t>(tail, i + 20) == tail.size()) {
      at = i;
      break;
    }
  check(at.has_value(), "[npz] {} is not a zip archive, or is truncated: it has no end record",
        source.name());
  const auto end = std::span(tail).subspan(*at);
  Directory directory{load_le<std::uint32_t>(end, 16), load_le<std::uint32_t>(end, 12),
                      load_le<std::uint16_t>(end, 10)};
  bool one_disk = load_le<std::uint16_t>(end, 4) == 0 && load_le<std::uint16_t>(end, 6) == 0 &&
                  load_le<std::uint16_t>(end, 8) == directory.count;
  std::uint64_t limit = start + *at;

  std::array<std::byte, locator_size> locator;
  if (limit >= locator_size) {
    source.read(limit - locator_size, locator);
    if (load_le<std::uint32_t>(locator) == locator_signature) {
      const auto offset = load_le<std::uint64_t>(locator, 8);
      std::array<std::byte, end64_size> end64;
      check(offset <= limit - locator_size && end64_size <= limit - locator_size - offset,
            "[npz] {} is damaged: its zip64 record lies outside the file", source.name());
      source.read(offset, end64);
      check(load_le<std::uint32_t>(end64) == end64_signature,
            "[npz] {} is damaged: its zip64 record is missing", source.name());
      directory = {load_le<std::uint64_t>(end64, 48), load_le<std::uint64_t>(end64, 40),
                   load_le<std::uint64_t>(end64, 32)};
      one_disk = load_le<std::uint32_t>(end64, 16) == 0 && load_le<std::uint32_t>(end64, 20) == 0 &&
                 load_le<std::uint64_t>(end64, 24) == directory.count;
      limit = offset;
    }
  }
  check(one_disk, "[npz] {} is split over several disks, which is not read", source.name());
  check(directory.offset <= limit && directory.size <= limit - directory.offset &&
            directory.count <= directory.size / central_size,
        "[npz] {} is damaged: its directory of {} members lies outside the file", source.name(),
        directory.count);
  return directory;
}

// Where a 32-bit field holds its largest value, the zip64 extra field has the number, in this
// order.
void read_zip64(std::span<const std::byte> extra, const std::string& archive, ZipMember& member) {
  constexpr std::uint32_t in_extra = 0xffffffff;
  if (member.size != in_extra && member.compressed != in_extra && member.offset != in_extra) return;
  while (extra.size() >= 4) {
    const auto id = load_le<std::uint16_t>(extra);
    const std::size_t length = load_le<std::uint16_t>(extra, 2);
    if (length > extra.size() - 4) break;
    auto body = extra.subspan(4, length);
    extra = extra.subspan(4 + length);
    if (id != 1) continue;
    for (std::uint64_t* field : {&member.size, &member.compressed, &member.offset}) {
      if (*field != in_extra) continue;
      check(body.size() >= 8, "[npz] {} is damaged: member '{}' has no 64-bit size", archive,
            member.name);
      *field = load_le<std::uint64_t>(body);
      body = body.subspan(8);
    }
    return;
  }
}

// Turns the offset of the local header into that of the data.
void resolve_local(const Source& source, std::uint64_t limit, ZipMember& member) {
  std::array<std::byte, local_size> local;
  check(member.offset <= limit && local_size <= limit - member.offset,
        "[npz] {} is damaged: member '{}' lies outside the file", source.name(), member.name);
  source.read(member.offset, local);
  check(load_le<std::uint32_t>(local) == local_signature &&
            load_le<std::uint16_t>(local, 26) == member.name.size(),
        "[npz] {} is damaged: member '{}' is not where the directory says", source.name(),
        member.name);
  std::string name(member.name.size(), '\0');
  source.read(member.offset + local_size,
              std::as_writable_bytes(std::span(name.data(), name.size())));
  check(name == member.name, "[npz] {} is damaged: member '{}' calls itself '{}'", source.name(),
        member.name, name);
  const std::uint64_t data =
      member.offset + local_size + name.size() + load_le<std::uint16_t>(local, 28);
  check(data <= limit && member.compressed <= limit - data,
        "[npz] {} is damaged: the {} bytes of member '{}' lie outside the file", source.name(),
        member.compressed, member.name);
  member.offset = data;
}

}  // namespace

std::vector<ZipMember> read_zip_directory(const Source& source) {
  const Directory directory = find_directory(source);
  std::vector<std::byte> bytes(static_cast<std::size_t>(directory.size));
  source.read(directory.offset, bytes);
  std::span<const std::byte> rest = bytes;
  std::vector<ZipMember> members;
  std::set<std::string> names;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> extents;
  for (std::uint64_t i = 0; i < directory.count; ++i) {
    check(rest.size() >= central_size && load_le<std::uint32_t>(rest) == central_signature,
          "[npz] {} is damaged: member {} is missing from its directory", source.name(), i);
    const std::size_t name_size = load_le<std::uint16_t>(rest, 28),
                      extra_size = load_le<std::uint16_t>(rest, 30),
                      comment_size = load_le<std::uint16_t>(rest, 32);
    check(name_size + extra_size + comment_size <= rest.size() - central_size,
          "[npz] {} is damaged: member {} does not fit into its directory", source.name(), i);
    ZipMember member;
    const auto name = rest.subspan(central_size, name_size);
    member.name.assign(reinterpret_cast<const char*>(name.data()), name.size());
    member.crc = load_le<std::uint32_t>(rest, 16);
    member.compressed = load_le<std::uint32_t>(rest, 20);
    member.size = load_le<std::uint32_t>(rest, 24);
    member.offset = load_le<std::uint32_t>(rest, 42);
    read_zip64(rest.subspan(central_size + name_size, extra_size), source.name(), member);
    const auto flags = load_le<std::uint16_t>(rest, 8), method = load_le<std::uint16_t>(rest, 10);
    check((flags & 1) == 0, "[npz] {}: member '{}' is encrypted, which is not read", source.name(),
          member.name);
    check(method == 0 || method == 8,
          "[npz] {}: member '{}' uses compression method {}; stored and deflated are read",
          source.name(), member.name, method);
    member.deflated = method == 8;
    check(member.deflated || member.size == member.compressed,
          "[npz] {} is damaged: stored member '{}' has two sizes", source.name(), member.name);
    check(names.insert(member.name).second, "[npz] {} holds two members named '{}'", source.name(),
          member.name);
    const std::uint64_t header = member.offset;
    resolve_local(source, directory.offset, member);
    extents.emplace_back(header, member.offset + member.compressed);
    members.push_back(std::move(member));
    rest = rest.subspan(central_size + name_size + extra_size + comment_size);
  }
  // Members that share bytes are how a small archive unpacks into an endless one.
  std::sort(extents.begin(), extents.end());
  for (std::size_t i = 1; i < extents.size(); ++i)
    check(extents[i - 1].second <= extents[i].first, "[npz] {} is damaged: its members overlap",
          source.name());
  return members;
}

}  // namespace flr::data
