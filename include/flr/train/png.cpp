#include "flr/train/png.hpp"

#include <zlib.h>

#include <string_view>

#include "flr/data/file.hpp"

namespace flr::train {

namespace {

void append_big_endian(std::string& to, std::uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) to += static_cast<char>(value >> shift);
}

// A chunk is its length, its type, its bytes, and the CRC of type and bytes.
void append_chunk(std::string& to, std::string_view type, std::string_view bytes) {
  append_big_endian(to, static_cast<std::uint32_t>(bytes.size()));
  const std::size_t start = to.size();
  to += type;
  to += bytes;
  const auto crc = crc32_z(0, reinterpret_cast<const Bytef*>(to.data() + start), to.size() - start);
  append_big_endian(to, static_cast<std::uint32_t>(crc));
}

// Each row starts with its filter: 2, the difference to the row above, is the one that suits
// upsampled fields, where many rows repeat.
std::string filtered_rows(const Image& image) {
  const auto width = static_cast<std::size_t>(image.width());
  std::string rows;
  rows.reserve((3 * width + 1) * static_cast<std::size_t>(image.height()));
  for (std::size_t start = 0; start < image.pixels().size(); start += width) {
    rows += '\2';
    for (std::size_t i = start; i < start + width; ++i) {
      const Rgb p = image.pixels()[i];
      const Rgb above = start == 0 ? Rgb{} : image.pixels()[i - width];
      for (const int difference : {p.r - above.r, p.g - above.g, p.b - above.b})
        rows += static_cast<char>(difference);
    }
  }
  return rows;
}

std::string deflated(const std::string& bytes) {
  uLongf size = compressBound(bytes.size());
  std::string out(size, '\0');
  const int status = compress2(reinterpret_cast<Bytef*>(out.data()), &size,
                               reinterpret_cast<const Bytef*>(bytes.data()), bytes.size(), 9);
  check(status == Z_OK, "[png] zlib could not compress the picture (status {})", status);
  out.resize(size);
  return out;
}

}  // namespace

std::string encode_png(const Image& image) {
  std::string header;
  append_big_endian(header, static_cast<std::uint32_t>(image.width()));
  append_big_endian(header, static_cast<std::uint32_t>(image.height()));
  // 8 bits a channel, RGB, then the only defined compression and filter methods, not interlaced.
  header += std::string{8, 2, 0, 0, 0};

  std::string png = "\x89PNG\r\n\x1a\n";
  append_chunk(png, "IHDR", header);
  append_chunk(png, "IDAT", deflated(filtered_rows(image)));
  append_chunk(png, "IEND", {});
  return png;
}

void write_png(const std::filesystem::path& path, const Image& image) {
  data::atomic_write(path, encode_png(image));
}

}  // namespace flr::train
