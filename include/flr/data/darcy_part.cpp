#include "flr/data/darcy_part.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstring>

#include "flr/data/deflate.hpp"

namespace flr::data {

namespace {

constexpr std::string_view magic = "flr darcy part 1";
constexpr std::size_t header_size = magic.size() + 9 * 8 + 4;

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

std::string header_of(const DarcySet& set) {
  std::string header(magic);
  const DarcyRecipe& r = set.recipe;
  for (const auto number : {r.grid, set.stride, set.samples}) append_le(header, number);
  append_le(header, r.seed);
  for (const double number : {r.tau, r.alpha, r.high, r.low, r.source})
    append_le(header, std::bit_cast<std::uint64_t>(number));
  append_le(header, crc32_of(0, bytes_of(header)));
  return header;
}

DarcySet parse_header(std::span<const std::byte> header) {
  DarcySet set;
  std::size_t at = magic.size();
  const auto next = [&] { return load_le<std::uint64_t>(header, (at += 8) - 8); };
  for (index_t* number : {&set.recipe.grid, &set.stride, &set.samples})
    *number = static_cast<index_t>(next());
  set.recipe.seed = next();
  for (double* number :
       {&set.recipe.tau, &set.recipe.alpha, &set.recipe.high, &set.recipe.low, &set.recipe.source})
    *number = std::bit_cast<double>(next());
  return set;
}

void check_same(const std::string& path, const DarcySet& made, const DarcySet& asked) {
  const auto same = [&](const char* what, auto before, auto now) {
    check(before == now, "[darcy] {} was begun with {} {}; got {}", path, what, before, now);
  };
  same("grid", made.recipe.grid, asked.recipe.grid);
  same("seed", made.recipe.seed, asked.recipe.seed);
  same("sample count", made.samples, asked.samples);
  same("downsampling", made.stride, asked.stride);
  same("tau", made.recipe.tau, asked.recipe.tau);
  same("alpha", made.recipe.alpha, asked.recipe.alpha);
  same("high coefficient", made.recipe.high, asked.recipe.high);
  same("low coefficient", made.recipe.low, asked.recipe.low);
  same("right-hand side", made.recipe.source, asked.recipe.source);
}

bool read_at(int file, std::uint64_t offset, std::span<std::byte> out) {
  while (!out.empty()) {
    const ssize_t n = ::pread(file, out.data(), out.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    out = out.subspan(static_cast<std::size_t>(n));
    offset += static_cast<std::uint64_t>(n);
  }
  return true;
}

bool write_at(int file, std::uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(file, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(n));
    offset += static_cast<std::uint64_t>(n);
  }
  return true;
}

// A record: the sample's number, a byte for each coefficient, eight for each solution, and the
// checksum of all that.
std::string encode(index_t sample, const DarcySample& values) {
  std::string record;
  append_le(record, sample);
  record.append(reinterpret_cast<const char*>(values.high.data()), values.high.size());
  for (double u : values.solution) append_le(record, std::bit_cast<std::uint64_t>(u));
  append_le(record, crc32_of(0, bytes_of(record)));
  return record;
}

bool intact(std::span<const std::byte> record) {
  const std::size_t body = record.size() - 4;
  return load_le<std::uint32_t>(record, body) == crc32_of(0, record.first(body));
}

}  // namespace

std::vector<double> DarcySet::points() const {
  const std::vector<double> all = cell_centres(recipe.grid);
  std::vector<double> chosen;
  for (index_t i = 0; i < recipe.grid; i += stride) chosen.push_back(all[i]);
  return chosen;
}

void check_set(const DarcySet& set) {
  check_recipe(set.recipe);
  check(set.samples >= 1, "[darcy] expected at least one sample; got {}", set.samples);
  check(set.stride >= 1 && set.stride <= set.recipe.grid,
        "[darcy] expected to keep every r-th cell with r from 1 to the grid, {}; got {}",
        set.recipe.grid, set.stride);
}

DarcyPart::DarcyPart(std::filesystem::path path, const DarcySet& set, Start start)
    : path_(std::move(path)), set_(set) {
  check_set(set);
  offset_.assign(static_cast<std::size_t>(set.samples), -1);
  file_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0644);
  check(file_ >= 0, "[darcy] {} cannot be opened: {}", path_.string(), std::strerror(errno));
  try {
    check(::flock(file_, LOCK_EX | LOCK_NB) == 0, "[darcy] {} is in use by another run",
          path_.string());
    const off_t size = ::lseek(file_, 0, SEEK_END);
    check(start == Start::resume || size == 0,
          "[darcy] {} holds the samples of an interrupted run: resume that run or delete the file",
          path_.string());
    adopt();
  } catch (...) {
    ::close(file_);
    throw;
  }
}

DarcyPart::~DarcyPart() {
  ::close(file_);
}

std::uint64_t DarcyPart::record_size() const {
  const auto points = static_cast<std::uint64_t>(set_.side() * set_.side());
  return 8 + points * 9 + 4;
}

// Finds the samples that are there, up to the first one that is not whole.
void DarcyPart::adopt() {
  std::vector<std::byte> header(header_size);
  const std::string expected = header_of(set_);
  const auto size = static_cast<std::uint64_t>(::lseek(file_, 0, SEEK_END));
  // A run may have been killed while it wrote the header.
  if (size < header_size) {
    std::vector<std::byte> start(static_cast<std::size_t>(size));
    const bool begun = read_at(file_, 0, start) &&
                       std::equal(start.begin(), start.end(), bytes_of(expected).begin());
    check(begun, "[darcy] {} is not a file of partial results", path_.string());
    const bool written = write_at(file_, 0, bytes_of(expected));  // errno is read after it
    check(written, "[darcy] {} cannot be written: {}", path_.string(), std::strerror(errno));
    end_ = header_size;
    return;
  }
  check(read_at(file_, 0, header) && intact(header) &&
            std::equal(magic.begin(), magic.end(), reinterpret_cast<const char*>(header.data())),
        "[darcy] {} is not a file of partial results, or is damaged", path_.string());
  check_same(path_.string(), parse_header(header), set_);
  std::vector<std::byte> record(static_cast<std::size_t>(record_size()));
  for (end_ = header_size; read_at(file_, end_, record) && intact(record); end_ += record.size()) {
    const auto sample = load_le<std::uint64_t>(record);
    if (sample >= offset_.size()) break;
    if (offset_[sample] < 0) ++count_;
    offset_[sample] = static_cast<std::int64_t>(end_);
  }
}

bool DarcyPart::has(index_t sample) const {
  const std::scoped_lock lock(mutex_);
  return offset_.at(static_cast<std::size_t>(sample)) >= 0;
}

index_t DarcyPart::count() const {
  const std::scoped_lock lock(mutex_);
  return count_;
}

void DarcyPart::append(index_t sample, const DarcySample& values) {
  const std::string record = encode(sample, values);
  check(record.size() == record_size(), "[darcy] expected a sample of {} x {} points", set_.side(),
        set_.side());
  const std::scoped_lock lock(mutex_);
  const bool written = write_at(file_, end_, bytes_of(record));
  check(written, "[darcy] {} cannot be written: {}", path_.string(), std::strerror(errno));
  auto& offset = offset_.at(static_cast<std::size_t>(sample));
  if (offset < 0) ++count_;
  offset = static_cast<std::int64_t>(end_);
  end_ += record.size();
}

DarcySample DarcyPart::read(index_t sample) const {
  check(has(sample), "[darcy] sample {} has not been made yet", sample);
  std::vector<std::byte> record(static_cast<std::size_t>(record_size()));
  const auto offset = static_cast<std::uint64_t>(offset_[static_cast<std::size_t>(sample)]);
  check(read_at(file_, offset, record) && intact(record), "[darcy] {} was damaged meanwhile",
        path_.string());
  const auto points = static_cast<std::size_t>(set_.side() * set_.side());
  DarcySample values;
  for (std::size_t i = 0; i < points; ++i)
    values.high.push_back(std::to_integer<std::uint8_t>(record[8 + i]));
  for (std::size_t i = 0; i < points; ++i)
    values.solution.push_back(
        std::bit_cast<double>(load_le<std::uint64_t>(record, 8 + points + 8 * i)));
  return values;
}

void DarcyPart::remove() {
  std::error_code ignored;
  std::filesystem::remove(path_, ignored);
}

}  // namespace flr::data
