// Damaged and hostile files: every reader ends in flr::Error or in a well-formed result.
#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>

#include "flr/data/csv.hpp"
#include "flr/data/mat5.hpp"
#include "flr/data/npy.hpp"
#include "flr/data/npz.hpp"
#include "flr/data/safetensors.hpp"
#include "flr/data/vtk.hpp"

using namespace flr;
using namespace flr::data;

namespace {

using Parse = std::function<std::map<std::string, Array>(std::span<const std::byte>)>;
using Bytes = std::vector<std::byte>;

std::map<std::string, Array> as_npy(std::span<const std::byte> bytes) {
  return {{"", parse_npy(bytes)}};
}
std::map<std::string, Array> as_npz(std::span<const std::byte> bytes) {
  return parse_npz(bytes);
}
std::map<std::string, Array> as_mat(std::span<const std::byte> bytes) {
  return parse_mat5(bytes);
}
std::map<std::string, Array> as_safetensors(std::span<const std::byte> bytes) {
  return parse_safetensors(bytes).tensors;
}

std::map<std::string, Array> as_vtk(std::span<const std::byte> bytes) {
  const VtkMesh mesh = parse_vtk(bytes);
  const auto offsets = mesh.offsets.as<std::int64_t>();
  CHECK(offsets.front() == 0);
  CHECK(offsets.back() == mesh.connectivity.numel());
  auto arrays = mesh.point_fields;
  arrays.emplace("the points", mesh.points);
  return arrays;
}

Bytes bytes_of(std::string_view text) {
  const auto view = std::as_bytes(std::span(text.data(), text.size()));
  return Bytes(view.begin(), view.end());
}

std::string reference_text(const std::string& name) {
  return read_text(std::filesystem::path(FLR_TEST_DIR) / "data" / name);
}
Bytes reference(const std::string& name) {
  return bytes_of(reference_text(name));
}

// The result, or nothing where the reader refused. Any other exception fails the test.
std::optional<std::map<std::string, Array>> attempt(const Parse& parse, const Bytes& bytes) {
  try {
    // A copy of the exact size, so that a sanitizer sees one byte too many.
    const std::unique_ptr<std::byte[]> exact(new std::byte[bytes.size()]);
    std::copy(bytes.begin(), bytes.end(), exact.get());
    return parse({exact.get(), bytes.size()});
  } catch (const Error&) {
    return std::nullopt;
  }
}

// No result may hold more than the file can: deflate packs at most 1032 : 1, and a MATLAB double
// may be stored in one byte.
void check_bounded(const std::map<std::string, Array>& arrays, std::size_t file_size) {
  std::size_t total = 0;
  for (const auto& [name, array] : arrays) total += array.bytes().size();
  CHECK(total <= file_size * 1032 * 8);
}

struct Case {
  const char* file;
  Parse parse;
  bool sums = false;      // a checksum covers the elements
  bool prefixes = false;  // a file cut at an array's end is a file of fewer arrays
  bool text = false;      // space may follow, and a number may lose digits unnoticed
};

const Case cases[] = {
    {"c_f4.npy", as_npy},
    {"fortran_big_endian_u2.npy", as_npy},
    {"half.npy", as_npy},
    {"version2.npy", as_npy},
    {"stored.npz", as_npz, true},
    {"deflated.npz", as_npz, true},
    {"descriptors.npz", as_npz, true},
    {"plain.mat", as_mat, false, true},
    {"compressed.mat", as_mat, false, true},
    {"big_endian.mat", as_mat, false, true},
    {"reference.safetensors", as_safetensors},
    {"bf16.safetensors", as_safetensors},
    {"old_ascii.vtk", as_vtk, false, true, true},
    {"new_ascii.vtk", as_vtk, false, true, true},
    {"old_binary.vtk", as_vtk, false, true, true},
    {"new_binary.vtk", as_vtk, false, true, true},
};

std::string safetensors_text(const std::string& header, std::size_t data) {
  std::string text;
  append_le(text, static_cast<std::uint64_t>(header.size()));
  return text + header + std::string(data, '\0');
}

std::string npy_text(const std::string& dictionary, std::size_t data) {
  std::string text("\x93NUMPY\x01\x00", 8);
  append_le(text, static_cast<std::uint16_t>(dictionary.size()));
  return text + dictionary + std::string(data, '\0');
}

std::string refusal(const Parse& parse, std::string_view text) {
  try {
    parse(bytes_of(text));
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

}  // namespace

TEST_CASE("damage: a file cut at any byte") {
  for (const Case& c : cases) {
    CAPTURE(c.file);
    const Bytes whole = reference(c.file);
    const auto expected = c.parse(whole);
    int accepted = 0;
    for (std::size_t n = 0; n < whole.size(); ++n) {
      const auto result = attempt(c.parse, Bytes(whole.begin(), whole.begin() + std::ptrdiff_t(n)));
      if (!result) continue;
      ++accepted;
      CHECK(result->size() < expected.size() + 1);
      if (!c.text)
        for (const auto& [name, array] : *result) CHECK(array == expected.at(name));
    }
    if (!c.prefixes) CHECK(accepted == 0);
  }
}

TEST_CASE("damage: any byte changed") {
  for (const Case& c : cases) {
    CAPTURE(c.file);
    const Bytes whole = reference(c.file);
    const auto expected = c.parse(whole);
    for (std::size_t i = 0; i < whole.size(); ++i) {
      for (const unsigned char flip : {0x01, 0x80, 0xff}) {
        Bytes damaged = whole;
        damaged[i] ^= std::byte{flip};
        const auto result = attempt(c.parse, damaged);
        if (!result) continue;
        check_bounded(*result, whole.size());
        if (c.sums && result->size() == expected.size()) CHECK(*result == expected);
      }
    }
  }
}

TEST_CASE("damage: bytes behind the end") {
  for (const Case& c : cases) {
    CAPTURE(c.file);
    Bytes longer = reference(c.file);
    longer.push_back(std::byte{0});
    CHECK(!attempt(c.parse, longer));
  }
}

TEST_CASE("damage: npy headers that lie") {
  const auto dictionary = [](const std::string& shape) {
    return "{'descr': '<f8', 'fortran_order': False, 'shape': (" + shape + "), }\n";
  };
  CHECK(refusal(as_npy, npy_text(dictionary("2,"), 16)) == "accepted");
  for (const char* shape : {"1099511627776,", "4294967296, 4294967296", "0, 4294967296, 4294967296",
                            "-1,", "2.0,", "9223372036854775808,", "3,", "1,"}) {
    CAPTURE(shape);
    CHECK(refusal(as_npy, npy_text(dictionary(shape), 16)) != "accepted");
  }
  for (const char* text : {"{}", "{'descr': '<f8'}", "'shape'", "{'shape': (2,), 'shape': (2,)}",
                           "{'descr': '<f8', 'fortran_order': 0, 'shape': (2,)}",
                           "{'descr': '<f8', 'fortran_order': False, 'shape': (2,)} 1"}) {
    CAPTURE(text);
    CHECK(refusal(as_npy, npy_text(text, 16)) != "accepted");
  }
}

TEST_CASE("damage: safetensors headers that lie") {
  const auto tensor = [](const char* rest) {
    return std::string(R"({"a":{"dtype":"F32","shape":)") + rest + "}}";
  };
  CHECK(refusal(as_safetensors, safetensors_text(tensor(R"([2],"data_offsets":[0,8])"), 8)) ==
        "accepted");
  for (const char* rest :
       {R"([2],"data_offsets":[0,4])", R"([2],"data_offsets":[8,0])",
        R"([3],"data_offsets":[0,12])", R"([1],"data_offsets":[4,8])",
        R"([1],"data_offsets":[0,4])", R"([4294967296,4294967296],"data_offsets":[0,0])",
        R"([-2],"data_offsets":[0,8])", R"([2.0],"data_offsets":[0,8])",
        R"([2],"data_offsets":[0,8,8])", R"([2],"data_offsets":[0,8],"dtype":"F32")",
        R"([2],"data_offsets":[0,8],"more":1)", R"([2])", R"([[2]],"data_offsets":[0,8])",
        R"([2],"data_offsets":[0,18446744073709551616])"}) {
    CAPTURE(rest);
    CHECK(refusal(as_safetensors, safetensors_text(tensor(rest), 8)) != "accepted");
  }
  const std::string one = R"("a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]})";
  const std::string overlap = R"("b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]})";
  CHECK(refusal(as_safetensors, safetensors_text("{" + one + "," + one + "}", 2))
            .find("two entries named 'a'") != std::string::npos);
  CHECK(refusal(as_safetensors, safetensors_text("{" + one + "," + overlap + "}", 3))
            .find("overlap") != std::string::npos);
  CHECK(refusal(as_safetensors, safetensors_text(R"({"__metadata__":{"k":1}})", 0)) != "accepted");
  CHECK(refusal(as_safetensors, safetensors_text("[]", 0)) != "accepted");
  CHECK(refusal(as_safetensors, safetensors_text(" {}", 0)) != "accepted");
  CHECK(refusal(as_safetensors, safetensors_text("{\"\xff\":{}}", 0)) != "accepted");
  CHECK(refusal(as_safetensors, std::string(8, '\xff')) != "accepted");
  const std::string deep(100'000, '[');
  CHECK(refusal(as_safetensors, safetensors_text("{\"a\":" + deep, 0)) != "accepted");
}

TEST_CASE("damage: an archive whose members share bytes or names") {
  std::string text = reference_text("stored.npz");
  const std::string signature = "PK\x01\x02";
  const std::size_t first = text.find(signature), second = text.find(signature, first + 4),
                    third = text.find(signature, second + 4);
  REQUIRE(third != text.npos);
  std::string twice = text;
  twice.replace(third, text.find("PK\x05\x06") - third, "");
  CHECK(refusal(as_npz, twice) != "accepted");  // the count no longer agrees

  // The first member claims forty bytes of the second one too.
  std::string overlapping = text;
  std::string size;
  append_le(size, load_le<std::uint32_t>(bytes_of(text), first + 20) + 40);
  overlapping.replace(first + 20, 8, size + size);
  CHECK(refusal(as_npz, overlapping).find("members overlap") != std::string::npos);

  const std::size_t name_at = second + 46;
  std::string renamed = text;
  REQUIRE(text.substr(name_at, 8) == "mask.npy");
  renamed.replace(name_at, 4, "mesk");
  CHECK(refusal(as_npz, renamed).find("calls itself") != std::string::npos);
}

TEST_CASE("damage: two arrays of one name") {
  const Array one(std::vector<float>{1}, {1, 1});
  const auto path =
      std::filesystem::temp_directory_path() / ("flr-damage-" + std::to_string(::getpid()));
  const auto renamed = [&] {
    std::string text = read_text(path);
    std::filesystem::remove(path);
    for (std::size_t at = text.find("ab"); at != text.npos; at = text.find("ab"))
      text[at + 1] = 'a';
    return text;
  };
  write_npz(path, {{"aa", one}, {"ab", one}});
  CHECK(refusal(as_npz, renamed()).find("two members named 'aa.npy'") != std::string::npos);
  write_mat5(path, {{"aa", one}, {"ab", one}}, MatForm::plain);
  CHECK(refusal(as_mat, renamed()).find("two variables named 'aa'") != std::string::npos);
}

TEST_CASE("npz: sizes, offsets and the end record in 64 bits") {
  const std::string text = reference_text("stored.npz");
  const std::size_t first = text.find("PK\x01\x02"), second = text.find("PK\x01\x02", first + 4),
                    end = text.find("PK\x05\x06");
  REQUIRE(end != text.npos);
  const Bytes bytes = bytes_of(text);
  // The first entry of the directory moves its two sizes and its offset into a zip64 field.
  std::string entry = text.substr(first, second - first);
  REQUIRE(load_le<std::uint16_t>(bytes, first + 30) == 0);
  std::string extra;
  append_le(extra, std::uint16_t{1});
  append_le(extra, std::uint16_t{24});
  append_le(extra, std::uint64_t{load_le<std::uint32_t>(bytes, first + 24)});
  append_le(extra, std::uint64_t{load_le<std::uint32_t>(bytes, first + 20)});
  append_le(extra, std::uint64_t{load_le<std::uint32_t>(bytes, first + 42)});
  entry.replace(20, 8, std::string(8, '\xff'));
  entry.replace(30, 2, std::string("\x1c\x00", 2));
  entry.replace(42, 4, std::string(4, '\xff'));
  const std::string directory = entry + extra + text.substr(second, end - second);
  // The end record says nothing; the zip64 record and its locator do.
  std::string tail = "PK\x06\x06";
  append_le(tail, std::uint64_t{44});
  append_le(tail, std::uint32_t{45 << 16 | 45});
  tail += std::string(8, '\0');
  append_le(tail, std::uint64_t{3});
  append_le(tail, std::uint64_t{3});
  append_le(tail, std::uint64_t{directory.size()});
  append_le(tail, std::uint64_t{first});
  tail += "PK\x06\x07" + std::string(4, '\0');
  append_le(tail, std::uint64_t{first + directory.size()});
  append_le(tail, std::uint32_t{1});
  tail += text.substr(end, 8) + std::string(12, '\xff') + std::string(2, '\0');
  const std::string large = text.substr(0, first) + directory + tail;
  CHECK(parse_npz(bytes_of(large)) == parse_npz(bytes));
  for (std::size_t n = first; n < large.size(); ++n)
    CHECK(!attempt(as_npz, bytes_of(large.substr(0, n))));
  for (std::size_t i = first; i < large.size(); ++i) {
    Bytes damaged = bytes_of(large);
    damaged[i] ^= std::byte{0xff};
    (void)attempt(as_npz, damaged);
  }
}

TEST_CASE("damage: what is declared larger than deflate can pack is refused before it is read") {
  // A deflated member of few bytes that claims a gigabyte.
  std::string text = reference_text("deflated.npz");
  const std::size_t central = text.find("PK\x01\x02");
  REQUIRE(central != text.npos);
  std::string size;
  append_le(size, std::uint32_t{1} << 30);
  text.replace(central + 24, 4, size);
  CHECK(refusal(as_npz, text).find("cannot hold the declared 1073741824") != std::string::npos);
}
