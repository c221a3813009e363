#include <limits>
#include <optional>

#include "flr/data/deflate.hpp"
#include "flr/data/elements.hpp"
#include "flr/data/npy.hpp"
#include "flr/data/npz.hpp"

namespace flr::data {

namespace {

// 1 January 1980: a fixed date, so that the same arrays give the same bytes.
constexpr std::uint16_t date = 1 << 5 | 1;
constexpr std::uint32_t in_extra = std::numeric_limits<std::uint32_t>::max();

struct Member {
  std::string name;
  std::uint64_t offset = 0, compressed = 0, size = 0;
  std::uint32_t crc = 0;
};

void append_all(std::string& to, auto... values) {
  (append_le(to, values), ...);
}

// Version needed, flags (UTF-8 names), method, time, date: the same in both headers.
void append_common(std::string& to, bool deflated) {
  append_all(to, std::uint16_t{45}, std::uint16_t{1 << 11}, std::uint16_t(deflated ? 8 : 0),
             std::uint16_t{0}, date);
}

// Every local header has a zip64 field, as numpy's own: sizes are known only once all is written.
std::string local_header(const Member& member, bool deflated) {
  std::string header;
  append_all(header, std::uint32_t{0x04034b50});
  append_common(header, deflated);
  append_all(header, member.crc, in_extra, in_extra, static_cast<std::uint16_t>(member.name.size()),
             std::uint16_t{20});
  header += member.name;
  append_all(header, std::uint16_t{1}, std::uint16_t{16}, member.size, member.compressed);
  return header;
}

std::string central_header(const Member& member, bool deflated) {
  std::string extra, header;
  const auto narrow = [&](std::uint64_t value) {
    if (value < in_extra) return static_cast<std::uint32_t>(value);
    append_le(extra, value);
    return in_extra;
  };
  const std::uint32_t size = narrow(member.size), compressed = narrow(member.compressed),
                      offset = narrow(member.offset);
  append_all(header, std::uint32_t{0x02014b50}, std::uint16_t{45});
  append_common(header, deflated);
  append_all(header, member.crc, compressed, size, static_cast<std::uint16_t>(member.name.size()),
             static_cast<std::uint16_t>(extra.empty() ? 0 : extra.size() + 4), std::uint16_t{0},
             std::uint16_t{0}, std::uint16_t{0}, std::uint32_t{0}, offset);
  header += member.name;
  if (!extra.empty()) {
    append_all(header, std::uint16_t{1}, static_cast<std::uint16_t>(extra.size()));
    header += extra;
  }
  return header;
}

// The plain end record cannot say where a large directory lies or that it has many members.
std::string end_records(std::uint64_t offset, std::uint64_t size, std::uint64_t count) {
  std::string end;
  const bool large = offset >= in_extra || size >= in_extra || count >= 0xffff;
  if (large) {
    append_all(end, std::uint32_t{0x06064b50}, std::uint64_t{44}, std::uint16_t{45},
               std::uint16_t{45}, std::uint32_t{0}, std::uint32_t{0}, count, count, size, offset);
    append_all(end, std::uint32_t{0x07064b50}, std::uint32_t{0}, offset + size, std::uint32_t{1});
  }
  const auto short_count = static_cast<std::uint16_t>(large ? 0xffff : count);
  append_all(end, std::uint32_t{0x06054b50}, std::uint16_t{0}, std::uint16_t{0}, short_count,
             short_count, large ? in_extra : static_cast<std::uint32_t>(size),
             large ? in_extra : static_cast<std::uint32_t>(offset), std::uint16_t{0});
  return end;
}

Member write_member(Sink& sink, const std::string& name, const Array& array, bool deflated) {
  Member member{name + ".npy", sink.position()};
  check(member.name.size() <= 0xffff, "[npz] expected names of at most 65531 bytes; got {}",
        name.size());
  sink.write(local_header(member, deflated));
  const std::uint64_t start = sink.position();
  std::optional<DeflateWriter> deflate;
  if (deflated) deflate.emplace(sink, DeflateForm::raw);
  const auto put = [&](std::span<const std::byte> bytes) {
    member.crc = crc32_of(member.crc, bytes);
    member.size += bytes.size();
    if (deflate)
      deflate->write(bytes);
    else
      sink.write(bytes);
  };
  const std::string header = npy_header(array.info());
  put(std::as_bytes(std::span(header.data(), header.size())));
  put(array.bytes());
  if (deflate) deflate->finish();
  member.compressed = sink.position() - start;
  const std::string final_header = local_header(member, deflated);
  sink.overwrite(member.offset, std::as_bytes(std::span(final_header.data(), final_header.size())));
  return member;
}

}  // namespace

void write_npz(const std::filesystem::path& path, const std::map<std::string, Array>& arrays,
               NpzForm form) {
  const bool deflated = form == NpzForm::deflated;
  atomic_write(path, [&](Sink& sink) {
    std::vector<Member> members;
    for (const auto& [name, array] : arrays)
      members.push_back(write_member(sink, name, array, deflated));
    const std::uint64_t offset = sink.position();
    for (const Member& member : members) sink.write(central_header(member, deflated));
    sink.write(end_records(offset, sink.position() - offset, members.size()));
  });
}

}  // namespace flr::data
