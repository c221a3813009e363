// Files of the data floor: round trips, and files that NumPy, SciPy and safetensors wrote.
#include <doctest/doctest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <filesystem>

#include "flr/data/csv.hpp"
#include "flr/data/mat5.hpp"
#include "flr/data/npy.hpp"
#include "flr/data/npz.hpp"
#include "flr/data/safetensors.hpp"

using namespace flr;
using namespace flr::data;

namespace {

const std::filesystem::path references = std::filesystem::path(FLR_TEST_DIR) / "data";

// A folder of its own for each test, removed at its end.
struct Folder {
  std::filesystem::path path;
  Folder() {
    static int counter = 0;
    path = std::filesystem::temp_directory_path() /
           ("flr-data-" + std::to_string(::getpid()) + "-" + std::to_string(counter++));
    std::filesystem::create_directories(path);
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  std::filesystem::path operator/(const char* name) const { return path / name; }
  std::size_t files() const {
    const std::filesystem::directory_iterator begin(path);
    return static_cast<std::size_t>(std::distance(begin, {}));
  }
};

// 0, 1, … as `scale` and `shift` make them, in row-major order of [2,3,4].
template <class T>
Array grid(double scale = 1, double shift = 0) {
  std::vector<T> values;
  for (int i = 0; i < 24; ++i) values.push_back(static_cast<T>(i * scale + shift));
  return Array(values, {2, 3, 4});
}

Array every(int step) {
  Array array(ElementType::boolean, {2, 3, 4});
  for (std::size_t i = 0; i < 24; ++i) array.bytes()[i] = std::byte{i % step == 0};
  return array;
}

std::map<std::string, Array> one_of_each_type() {
  return {{"f32", grid<float>(0.125)},
          {"f64", grid<double>(0.1)},
          {"i8", grid<std::int8_t>(1, -12)},
          {"u8", grid<std::uint8_t>()},
          {"i16", grid<std::int16_t>(100, -1000)},
          {"u16", grid<std::uint16_t>(1000)},
          {"i32", grid<std::int32_t>(-1e6)},
          {"u32", grid<std::uint32_t>(1e8)},
          {"i64", grid<std::int64_t>(-1e12)},
          {"u64", grid<std::uint64_t>(1e12)},
          {"boolean", every(3)},
          {"empty", Array(ElementType::f32, {3, 0})},
          {"byte", Array(std::vector<std::uint8_t>{7}, {1, 1})}};
}

std::string bytes_of(const std::filesystem::path& path) {
  return read_text(path);
}

template <class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("atomic_write: all or nothing") {
  const Folder folder;
  atomic_write(folder / "a", "first");
  CHECK(bytes_of(folder / "a") == "first");
  CHECK_THROWS_AS(atomic_write(folder / "a",
                               [](Sink& sink) {
                                 sink.write("second, cut short");
                                 fail("[test] stop");
                               }),
                  Error);
  CHECK(bytes_of(folder / "a") == "first");
  CHECK(folder.files() == 1);  // no temporary file is left

  atomic_write(folder / "large", [](Sink& sink) {
    const std::string block(1000, 'x');
    for (int i = 0; i < 300; ++i) sink.write(block);
    sink.overwrite(100'000, std::as_bytes(std::span("yz", 2)));
  });
  const std::string large = bytes_of(folder / "large");
  CHECK(large.size() == 300'000);
  CHECK(large.substr(99'999, 4) == "xyzx");

  std::filesystem::create_symlink("a", folder / "link");
  atomic_write(folder / "link", "through the link");
  CHECK(std::filesystem::is_symlink(folder / "link"));
  CHECK(bytes_of(folder / "a") == "through the link");

  const auto absent = message_of([&] { atomic_write(folder / "absent/b", "x"); });
  CHECK(absent.find("it does not exist") != absent.npos);
  const auto device = message_of([&] { atomic_write("/dev/null", "x"); });
  CHECK(device == "[write] /dev/null exists and is not a regular file");

  // A write that fails half way, as on a full disk: no file may grow beyond 100 kB for a moment.
  struct rlimit limit = {};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &limit) == 0);
  const struct rlimit small = {100'000, limit.rlim_max};
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
  const auto full = message_of([&] { atomic_write(folder / "large", std::string(200'000, 'n')); });
  ::setrlimit(RLIMIT_FSIZE, &limit);
  std::signal(SIGXFSZ, handler);
  CHECK(full.find("large cannot be written: ") != full.npos);
  CHECK(bytes_of(folder / "large") == large);
  CHECK(folder.files() == 3);

  CHECK(message_of([&] { Source(folder.path); }).find("is not a regular file") !=
        std::string::npos);
  CHECK(message_of([&] { Source(folder / "none"); }).find("it does not exist") !=
        std::string::npos);
}

TEST_CASE("npy: round trip of every type") {
  const Folder folder;
  for (const auto& entry : one_of_each_type()) {
    CAPTURE(entry.first);
    const Array& array = entry.second;
    write_npy(folder / "a.npy", array);
    CHECK(read_npy(folder / "a.npy") == array);
    const ArrayInfo info = inspect_npy(folder / "a.npy");
    CHECK(info.type == array.type());
    CHECK(info.shape == array.shape());
    CHECK(npy_header(info).size() % 64 == 0);
  }
  write_npy(folder / "s.npy", Array(std::vector<double>{3}, {}));
  CHECK(read_npy(folder / "s.npy").rank() == 0);
  write_npy(folder / "v.npy", Array(std::vector<double>{3, 4}, {2}));
  CHECK(read_npy(folder / "v.npy").shape() == std::vector<std::int64_t>{2});
  CHECK_THROWS_AS(write_npy(folder / "b.npy", Array(ElementType::bf16, {2})), Error);
}

TEST_CASE("npy: files of NumPy") {
  CHECK(read_npy(references / "c_f4.npy") == grid<float>(0.125));
  CHECK(read_npy(references / "fortran_f8.npy") == grid<double>(0.125));
  CHECK(read_npy(references / "big_endian_i4.npy") == grid<std::int32_t>(1, -12));
  CHECK(read_npy(references / "fortran_big_endian_u2.npy") == grid<std::uint16_t>());
  CHECK(read_npy(references / "bool.npy") == every(3));
  CHECK(read_npy(references / "scalar_i8.npy") == Array(std::vector<std::int64_t>{-7}, {}));
  CHECK(read_npy(references / "empty.npy") == Array(ElementType::f32, {3, 0}));
  CHECK(read_npy(references / "version2.npy") ==
        Array(std::vector<std::uint64_t>{0, 1, 2, 3, 4}, {5}));
  CHECK(read_npy(references / "version3.npy") ==
        Array(std::vector<std::int8_t>{0, 1, 2, 3, 4}, {5}));
  const auto half = read_npy(references / "half.npy").convert<float>();
  const std::vector<float> expected = {0, -0.0f, 1, -2.5, 65504, 5.9604645e-8f, INFINITY};
  CHECK(half == expected);
  CHECK(std::signbit(half[1]));

  const auto says = [](const char* file, const char* text) {
    return message_of([&] { read_npy(references / file); }).find(text) != std::string::npos;
  };
  CHECK(says("object.npy", "holds Python objects"));
  CHECK(says("structured.npy", "is a structured array"));
  CHECK(says("complex.npy", "'c8'"));
  CHECK(says("plain.mat", "is not a .npy file"));
}

TEST_CASE("npz: round trip, stored and deflated, with the same bytes each time") {
  const Folder folder;
  for (const NpzForm form : {NpzForm::stored, NpzForm::deflated}) {
    write_npz(folder / "a.npz", one_of_each_type(), form);
    write_npz(folder / "b.npz", one_of_each_type(), form);
    CHECK(bytes_of(folder / "a.npz") == bytes_of(folder / "b.npz"));
    CHECK(read_npz(folder / "a.npz") == one_of_each_type());
  }
  write_npz(folder / "none.npz", {});
  CHECK(read_npz(folder / "none.npz").empty());
}

TEST_CASE("npz: files of NumPy, without loading what is not asked for") {
  const std::map<std::string, Array> expected = {
      {"x", grid<float>(0.125)},
      {"mask", every(2)},
      {"label", Array(std::vector<std::int64_t>{0, 1, 2, 3, 4, 5}, {6})}};
  for (const char* name : {"stored.npz", "deflated.npz", "descriptors.npz"}) {
    CAPTURE(name);
    CHECK(read_npz(references / name) == expected);
  }
  const NpzFile file(references / "descriptors.npz");
  CHECK(file.names() == std::vector<std::string>{"x", "mask", "label"});
  CHECK(file.inspect("x").shape == std::vector<std::int64_t>{2, 3, 4});
  CHECK(file.read("label").numel() == 6);
  CHECK(message_of([&] { file.read("y"); }).find("it has: x, mask, label") != std::string::npos);
}

TEST_CASE("mat5: round trip, plain and compressed") {
  const Folder folder;
  for (const MatForm form : {MatForm::plain, MatForm::compressed}) {
    write_mat5(folder / "a.mat", one_of_each_type(), form);
    const MatFile file(folder / "a.mat");
    CHECK(file.variables().size() == one_of_each_type().size());
    for (const auto& entry : one_of_each_type()) {
      CAPTURE(entry.first);
      CHECK(file.read(entry.first) == entry.second);
    }
    CHECK(file.read("f64", ElementType::f32) == grid<double>(0.1).convert(ElementType::f32));
  }
  write_mat5(folder / "v.mat", {{"v", Array(std::vector<float>{1, 2, 3}, {3})},
                                {"s", Array(std::vector<float>{1}, {})}});
  const MatFile file(folder / "v.mat");
  CHECK(file.read("v").shape() == std::vector<std::int64_t>{1, 3});
  CHECK(file.read("s").shape() == std::vector<std::int64_t>{1, 1});
  for (const char* bad : {"", "1x", "a b", "_x", "ä"}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(write_mat5(folder / "b.mat", {{bad, grid<float>()}}), Error);
  }
  CHECK_THROWS_AS(write_mat5(folder / "b.mat", {{"x", Array(ElementType::bf16, {2})}}), Error);
  CHECK(folder.files() == 2);
}

TEST_CASE("mat5: a large array goes through more than one slab") {
  std::vector<float> values(300 * 70 * 500);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 8191);
  const Array array(values, {300, 70, 500});
  const Folder folder;
  write_mat5(folder / "a.mat", {{"x", array}}, MatForm::plain);
  CHECK(MatFile(folder / "a.mat").read("x") == array);
}

TEST_CASE("mat5: files of SciPy") {
  for (const char* name : {"plain.mat", "compressed.mat"}) {
    CAPTURE(name);
    const MatFile file(references / name);
    CHECK(file.variables().size() == 16);
    CHECK(file.read("double") == grid<double>(0.125));
    CHECK(file.read("single") == grid<float>(0.125));
    CHECK(file.read("int8") == grid<std::int8_t>(1, -12));
    CHECK(file.read("uint16") == grid<std::uint16_t>());
    CHECK(file.read("int64") == grid<std::int64_t>(1, -1099511627776.0));
    CHECK(file.read("logical") == every(3));
    CHECK(file.read("row") == Array(std::vector<double>{0, 1, 2}, {1, 3}));
    CHECK(file.read("scalar") == Array(std::vector<double>{2.5}, {1, 1}));
    CHECK(file.read("byte") == Array(std::vector<std::uint8_t>{7}, {1, 1}));
    CHECK(file.read("empty") == Array(ElementType::f64, {0, 3}));
    for (const char* other : {"text", "cell", "record", "sparse", "wave"}) {
      CAPTURE(other);
      CHECK(file.contains(other));
      const auto text = message_of([&] { file.read(other); });
      CHECK(text.find("real numeric and logical arrays are read") != text.npos);
    }
    CHECK(message_of([&] { file.read("absent"); }).find("it has: double, single") !=
          std::string::npos);
  }
  CHECK(MatFile(references / "big_endian.mat").read("x") ==
        Array(std::vector<double>{1, 3, 5, 2, 4, -6}, {2, 3}));
  const auto hdf5 = message_of([] { MatFile file(references / "v73.mat"); });
  CHECK(hdf5.find("save(name, '-v7'") != hdf5.npos);
  CHECK_THROWS_AS(MatFile(references / "stored.npz"), Error);
}

TEST_CASE("safetensors: round trip, aligned, with the same bytes each time") {
  const Folder folder;
  SafeTensors content{one_of_each_type(), {{"model", "a \"quoted\" näme\n"}, {"step", "12"}}};
  content.tensors["bf16"] = grid<float>(0.5).convert(ElementType::bf16);
  content.tensors["scalar"] = Array(std::vector<double>{3}, {});
  write_safetensors(folder / "a", content);
  write_safetensors(folder / "b", content);
  CHECK(bytes_of(folder / "a") == bytes_of(folder / "b"));
  const SafeTensors back = read_safetensors(folder / "a");
  CHECK(back.tensors == content.tensors);
  CHECK(back.metadata == content.metadata);
  const SafeTensorsIndex index = inspect_safetensors(folder / "a");
  CHECK(index.tensors.at("bf16").type == ElementType::bf16);
  CHECK(index.metadata == content.metadata);

  write_safetensors(folder / "a", {});
  CHECK(read_safetensors(folder / "a").tensors.empty());
  CHECK_THROWS_AS(write_safetensors(folder / "c", {{{"\xff", grid<float>()}}, {}}), Error);
  CHECK_THROWS_AS(back.at("absent"), Error);
}

TEST_CASE("safetensors: a file of the reference implementation") {
  const SafeTensors file = read_safetensors(references / "reference.safetensors");
  CHECK(file.at("weight") == grid<float>(0.125));
  CHECK(file.at("double") == Array(std::vector<double>{0, 0.25, 0.5}, {3}));
  CHECK(file.at("half") == Array(std::vector<float>{0.5, -1.5}, {2}));
  CHECK(file.at("label") == Array(std::vector<std::int64_t>{-2, -1, 0, 1}, {4}));
  CHECK(file.at("byte") == Array(std::vector<std::uint8_t>{0, 1, 2, 3, 4}, {5}));
  CHECK(file.at("keep").type() == ElementType::boolean);
  CHECK(file.at("keep").convert<float>() == std::vector<float>{1, 0, 1});
  CHECK(file.at("scalar") == Array(std::vector<std::int32_t>{3}, {}));
  CHECK(file.metadata.at("model") == "a \"quoted\" näme");
  CHECK(read_safetensors(references / "bf16.safetensors").at("b").convert<float>() ==
        std::vector<float>{1, -2, 3.140625});
}

TEST_CASE("safetensors: every golden fixture is read") {
  int files = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::filesystem::path(FLR_TEST_DIR) / "golden")) {
    if (entry.path().extension() != ".safetensors") continue;
    CAPTURE(entry.path());
    CHECK(!read_safetensors(entry.path()).tensors.empty());
    ++files;
  }
  CHECK(files > 0);
}

TEST_CASE("csv: tables of numbers") {
  const auto parse = [](std::string_view text, const CsvOptions& options = {}) {
    return parse_csv(std::as_bytes(std::span(text.data(), text.size())), options);
  };
  const CsvTable table = parse("x,\"y, in m\"\r\n1,-2.5e3\n\n +3 ,nan\n");
  CHECK(table.columns == std::vector<std::string>{"x", "y, in m"});
  CHECK(table.values.shape() == std::vector<std::int64_t>{2, 2});
  CHECK(table.values.as<double>()[1] == -2500);
  CHECK(table.values.as<double>()[2] == 3);
  CHECK(std::isnan(table.values.as<double>()[3]));
  CHECK(parse("1;2\n3;4", {.delimiter = ';'}).columns.empty());
  CHECK(parse("1,2\n3,4", {.header = true}).values.numel() == 2);
  CHECK(parse("\xef\xbb\xbf"
              "1,2\n")
            .values.numel() == 2);
  CHECK(parse("").values.shape() == std::vector<std::int64_t>{0, 0});
  CHECK(message_of([&] { parse("1,2\n3\n"); }) == "[csv] memory line 2: expected 2 fields; got 1");
  CHECK(message_of([&] { parse("1,2\n\n3,4x\n"); }) ==
        "[csv] memory line 3 column 2: expected a number; got '4x'");
  CHECK(message_of([&] { parse("1,\"2\n"); }) == "[csv] memory: the quote of line 1 never ends");

  const Folder folder;
  const CsvTable written{{"a \"b\"", "c"}, Array(std::vector<double>{0.1, 1e300, -0.0, 7}, {2, 2})};
  write_csv(folder / "t.csv", written);
  const CsvTable back = read_csv(folder / "t.csv");
  CHECK(back.columns == written.columns);
  CHECK(back.values == written.values);
}

TEST_CASE("csv: records of text") {
  const Folder folder;
  atomic_write(folder / "t.tsv",
               "label\ttext\n1\t\"two\nlines, a \"\"quote\"\"\"\n0\tit's 5\" long\n");
  CsvReader reader(folder / "t.tsv");
  std::vector<std::string> fields;
  CHECK(reader.next(fields));
  CHECK(reader.next(fields));
  CHECK(fields == std::vector<std::string>{"1", "two\nlines, a \"quote\""});
  CHECK(reader.line() == 2);
  CHECK(reader.next(fields));
  CHECK(fields == std::vector<std::string>{"0", "it's 5\" long"});
  CHECK(reader.line() == 4);
  CHECK(!reader.next(fields));

  CsvReader plain(folder / "t.tsv", {.quote = '\0'});
  plain.next(fields);
  CHECK(plain.next(fields));
  CHECK(fields[1] == "\"two");
}
