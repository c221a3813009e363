#include "flr/data/elements.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

namespace flr::data {

namespace {

static_assert(std::endian::native == std::endian::little,
              "files are little-endian and read without swapping");

constexpr std::int64_t slab_bytes = 16 << 20;
constexpr std::int64_t block_bytes = 64 << 10;

void swap_bytes(std::span<std::byte> bytes, std::size_t size) {
  for (std::size_t i = 0; i + size <= bytes.size(); i += size)
    std::reverse(bytes.begin() + static_cast<std::ptrdiff_t>(i),
                 bytes.begin() + static_cast<std::ptrdiff_t>(i + size));
}

// The next elements of the stream, in memory's byte order and of type `to`.
void read_converted(Stream& stream, StoredElement stored, ElementType to,
                    std::span<std::byte> out) {
  const auto size = static_cast<std::size_t>(stored.size());
  const bool swap = stored.big_endian && size > 1;
  if (stored.type == to && !stored.half) {
    stream.read(out);
    if (swap) swap_bytes(out, size);
    if (to == ElementType::boolean)
      for (std::byte& b : out) b = std::byte{b != std::byte{0}};
    return;
  }
  const auto out_size = static_cast<std::size_t>(size_of(to));
  const std::size_t block = static_cast<std::size_t>(block_bytes) / 8;
  std::vector<std::byte> raw(block * size);
  std::vector<float> halves;
  for (std::size_t n = out.size() / out_size; n > 0;) {
    const std::size_t count = std::min(n, block);
    const auto part = std::span(raw).first(count * size);
    stream.read(part);
    if (swap) swap_bytes(part, size);
    const std::byte* elements = raw.data();
    if (stored.half) {
      halves.resize(count);
      for (std::size_t i = 0; i < count; ++i)
        halves[i] = half_to_float(load_le<std::uint16_t>(part, 2 * i));
      elements = reinterpret_cast<const std::byte*>(halves.data());
    }
    convert_elements(stored.type, elements, to, out.data(), static_cast<std::int64_t>(count));
    out = out.subspan(count * out_size);
    n -= count;
  }
}

// A walk over an array in both orders at once. The last axis is cut into slabs, which are
// contiguous in column-major order; `visit(slab's bytes, move)` either fills the slab and then
// calls move(false), or calls move(true) first, which fills the slab from the row-major elements.
class OrderWalk {
 public:
  OrderWalk(const std::vector<std::int64_t>& shape, std::int64_t size, std::byte* row_major)
      : size_(size), row_major_(row_major) {
    // Axes of extent 1 change nothing, and without them the last axis cuts the array into more
    // than one slab.
    for (std::int64_t extent : shape)
      if (extent != 1) extents_.push_back(extent);
    strides_.resize(extents_.size());
    std::int64_t step = size;
    for (std::size_t a = extents_.size(); a-- > 0; step *= extents_[a]) strides_[a] = step;
    slice_ = extents_.empty() ? size : step / extents_.back();
  }

  // Whether the two orders are the same.
  bool trivial() const { return extents_.size() < 2; }

  template <class Visit>
  void each_slab(Visit&& visit) {
    const std::int64_t last = extents_.back();
    const std::int64_t width = std::clamp<std::int64_t>(slab_bytes / slice_, 1, last);
    std::vector<std::byte> slab(static_cast<std::size_t>(width * slice_));
    for (std::int64_t k = 0; k < last; k += width) {
      const std::int64_t n = std::min(width, last - k);
      visit(std::span(slab).first(static_cast<std::size_t>(n * slice_)),
            [&, k, n](bool to_slab) { move(slab.data(), k, n, to_slab); });
    }
  }

 private:
  void move(std::byte* slab, std::int64_t k, std::int64_t n, bool to_slab) const {
    const std::int64_t first = extents_.front(), middles = slice_ / size_ / first;
    std::vector<std::int64_t> position(extents_.size(), 0);
    std::int64_t offset = k * size_;
    for (std::int64_t m = 0; m < middles; ++m) {
      plane(slab + m * first * size_, row_major_ + offset, n, to_slab);
      // Middle axes in column-major order: the earliest runs fastest.
      for (std::size_t a = 1; a + 1 < extents_.size(); ++a) {
        offset += strides_[a];
        if (++position[a] < extents_[a]) break;
        offset -= strides_[a] * extents_[a];
        position[a] = 0;
      }
    }
  }

  // Transposes first axis × n of the last axis, in tiles that stay in cache.
  void plane(std::byte* slab, std::byte* rows, std::int64_t n, bool to_slab) const {
    switch (size_) {
      case 1: return plane_of<std::uint8_t>(slab, rows, n, to_slab);
      case 2: return plane_of<std::uint16_t>(slab, rows, n, to_slab);
      case 4: return plane_of<std::uint32_t>(slab, rows, n, to_slab);
      default: return plane_of<std::uint64_t>(slab, rows, n, to_slab);
    }
  }
  template <class Word>
  void plane_of(std::byte* slab, std::byte* rows, std::int64_t n, bool to_slab) const {
    constexpr std::int64_t tile = 16;
    const std::int64_t first = extents_.front();
    for (std::int64_t i0 = 0; i0 < first; i0 += tile)
      for (std::int64_t k0 = 0; k0 < n; k0 += tile)
        for (std::int64_t i = i0; i < std::min(i0 + tile, first); ++i)
          for (std::int64_t k = k0; k < std::min(k0 + tile, n); ++k) {
            std::byte* row = rows + i * strides_.front() + k * size_;
            std::byte* column = slab + k * slice_ + i * size_;
            if (to_slab)
              std::memcpy(column, row, sizeof(Word));
            else
              std::memcpy(row, column, sizeof(Word));
          }
  }

  std::int64_t size_, slice_ = 0;
  std::byte* row_major_;
  std::vector<std::int64_t> extents_, strides_;
};

}  // namespace

Array read_elements(Stream& stream, StoredElement stored, ElementType to,
                    std::vector<std::int64_t> shape, bool column_major) {
  ArrayInfo info{to, std::move(shape)};
  std::int64_t needed = 0;
  const std::int64_t numel = info.numel(stream.name());
  check(!__builtin_mul_overflow(numel, stored.size(), &needed) &&
            static_cast<std::uint64_t>(needed) <= stream.remaining(),
        "[read] {} is truncated or damaged: {} {} needs {} elements of {} bytes; at most {} bytes "
        "can follow",
        stream.name(), name_of(to), shape_text(info.shape), numel, stored.size(),
        stream.remaining());
  Array array = Array::uninitialized(to, std::move(info.shape));
  if (numel == 0) return array;
  OrderWalk walk(array.shape(), size_of(to), array.bytes().data());
  if (!column_major || walk.trivial())
    read_converted(stream, stored, to, array.bytes());
  else
    walk.each_slab([&](std::span<std::byte> slab, auto&& move) {
      read_converted(stream, stored, to, slab);
      move(false);
    });
  return array;
}

void write_elements(const std::function<void(std::span<const std::byte>)>& emit, const Array& array,
                    bool column_major) {
  if (array.numel() == 0) return;
  // The walk only reads the array when it fills slabs.
  OrderWalk walk(array.shape(), size_of(array.type()),
                 const_cast<std::byte*>(array.bytes().data()));
  if (!column_major || walk.trivial()) return emit(array.bytes());
  walk.each_slab([&](std::span<std::byte> slab, auto&& move) {
    move(true);
    emit(slab);
  });
}

void write_elements(Sink& sink, const Array& array, bool column_major) {
  write_elements([&](std::span<const std::byte> bytes) { sink.write(bytes); }, array, column_major);
}

}  // namespace flr::data
