// VTK: what the writers put into a file, and legacy files that VTK wrote.
#include <doctest/doctest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "flr/data/vtk.hpp"

using namespace flr;
using namespace flr::data;

namespace {

std::string written(const char* extension,
                    const std::function<void(std::filesystem::path)>& write) {
  const auto path = std::filesystem::temp_directory_path() /
                    ("flr-vtk-" + std::to_string(::getpid()) + extension);
  write(path);
  const std::string text = read_text(path);
  std::filesystem::remove(path);
  return text;
}

// The appended array at an offset, as VTK finds it: its size in bytes, then the elements.
template <class T>
std::vector<T> appended(const std::string& file, const std::string& array_name) {
  const std::size_t element = file.find("Name=\"" + array_name + "\"");
  REQUIRE(element != file.npos);
  const std::size_t offset = std::stoul(file.substr(file.find("offset=\"", element) + 8));
  const std::string marker = "<AppendedData encoding=\"raw\">\n_";
  const std::size_t begin = file.find(marker) + marker.size() + offset;
  std::uint64_t bytes = 0;
  std::memcpy(&bytes, file.data() + begin, sizeof bytes);
  REQUIRE(begin + sizeof bytes + bytes <= file.size());
  std::vector<T> values(bytes / sizeof(T));
  std::memcpy(values.data(), file.data() + begin + sizeof bytes, bytes);
  return values;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != text.npos;
}

const Array square(std::vector<float>{0, 0, 1, 0, 1, 1, 0, 1}, {4, 2});

VtkMesh parse(std::string_view text) {
  return parse_vtk(std::as_bytes(std::span(text.data(), text.size())));
}

}  // namespace

TEST_CASE("vtk: a triangle mesh with fields") {
  const Array pressure(std::vector<double>{1, 2, 3, 4}, {4});
  const Array velocity(std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, {4, 3});
  const Array triangles(std::vector<std::int32_t>{0, 1, 2, 0, 2, 3}, {2, 3});
  const std::string file = written(".vtu", [&](const auto& path) {
    write_vtu(path, square, {{"p & <q>", pressure}, {"v", velocity}}, triangles);
  });
  CHECK(contains(file, "<Piece NumberOfPoints=\"4\" NumberOfCells=\"2\">"));
  CHECK(contains(file, "Name=\"v\" NumberOfComponents=\"3\""));
  CHECK(appended<float>(file, "p &amp; &lt;q>") == std::vector<float>{1, 2, 3, 4});
  CHECK(appended<float>(file, "v") == velocity.convert<float>());
  CHECK(appended<float>(file, "Points") == std::vector<float>{0, 0, 0, 1, 0, 0, 1, 1, 0, 0, 1, 0});
  CHECK(appended<std::int64_t>(file, "connectivity") == triangles.convert<std::int64_t>());
  CHECK(appended<std::int64_t>(file, "offsets") == std::vector<std::int64_t>{3, 6});
  CHECK(appended<std::uint8_t>(file, "types") == std::vector<std::uint8_t>{5, 5});
}

TEST_CASE("vtk: a point cloud is made of vertices") {
  const std::string file = written(".vtu", [&](const auto& path) { write_vtu(path, square, {}); });
  CHECK(appended<std::int64_t>(file, "connectivity") == std::vector<std::int64_t>{0, 1, 2, 3});
  CHECK(appended<std::uint8_t>(file, "types") == std::vector<std::uint8_t>{1, 1, 1, 1});
}

TEST_CASE("vtk: a structured grid names its axes backwards") {
  const Array points(std::vector<float>(24), {3, 4, 2});
  const Array field(std::vector<float>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, {3, 4});
  const std::string file = written(".vts", [&](const auto& path) {
    write_vts(path, points, {{"f", field}});
  });
  CHECK(contains(file, "<StructuredGrid WholeExtent=\"0 3 0 2 0 0\">"));
  CHECK(appended<float>(file, "f") == field.convert<float>());
}

TEST_CASE("vtk: what does not fit together is refused and no file is left") {
  const auto path = std::filesystem::temp_directory_path() / "flr-vtk-refused.vtu";
  const Array wrong(std::vector<float>{1, 2, 3}, {3});
  CHECK_THROWS_AS(write_vtu(path, square, {{"p", wrong}}), Error);
  CHECK_THROWS_AS(write_vtu(path, wrong, {}), Error);
  CHECK_THROWS_AS(write_vtu(path, square, {}, Array(std::vector<int>{0, 1, 4}, {1, 3})), Error);
  CHECK_THROWS_AS(write_vtu(path, square, {}, Array(std::vector<int>{0, 1, 2, 3, 0}, {1, 5})),
                  Error);
  CHECK_THROWS_AS(write_vts(path, square, {}), Error);
  CHECK(!std::filesystem::exists(path));
}

TEST_CASE("vtk: legacy files that VTK wrote") {
  for (const char* name : {"old_ascii.vtk", "old_binary.vtk", "new_ascii.vtk", "new_binary.vtk"}) {
    CAPTURE(name);
    const VtkMesh mesh = read_vtk(std::filesystem::path(FLR_TEST_DIR) / "data" / name);
    CHECK(mesh.points ==
          Array(std::vector<float>{0, 0, 0, 1, 0, 0.5, 1, 1, 0, 0, 1, 0, 2, 0, 0, 2, 1, 0.25},
                {6, 3}));
    CHECK(mesh.uniform_cells() == Array(std::vector<std::int64_t>{0, 1, 2, 3, 1, 4, 5, 2}, {2, 4}));
    CHECK(mesh.point_fields.size() == 3);
    CHECK(mesh.point_fields.at("pressure") ==
          Array(std::vector<float>{0, 0.25, 0.5, 0.75, 1, 1.25}, {6}));
    CHECK(mesh.point_fields.at("velocity").as<double>()[17] == 17);
    CHECK(mesh.point_fields.at("pair").shape() == std::vector<std::int64_t>{6, 2});
  }
}

TEST_CASE("vtk: legacy text that is mixed, bare or wrong") {
  const std::string head = "# vtk DataFile Version 2.0\nmesh\nASCII\nDATASET UNSTRUCTURED_GRID\n";
  const std::string points = "POINTS 4 double\n0 0 0  1 0 0\n1 1 0  0 1 0\n";
  const VtkMesh mixed = parse(head + points + "CELLS 2 9\n4 0 1 2 3\n3 0 1 2\n");
  CHECK(mixed.offsets == Array(std::vector<std::int64_t>{0, 4, 7}, {3}));
  CHECK_THROWS_AS((void)mixed.uniform_cells(), Error);
  CHECK(parse(head + points).uniform_cells().numel() == 0);
  for (const char* rest :
       {"CELLS 1 5\n4 0 1 2 4\n", "CELLS 1 5\n4 0 1 2 -1\n", "CELLS 1 5\n5 0 1 2 3\n",
        "CELLS 2 5\n4 0 1 2 3\n", "CELLS 1 1000000000000\n4 0 1 2 3\n", "CELLS 1 5\n4 0 1 2\n",
        "POINT_DATA 3\n", "POINT_DATA 4\nTENSORS t double\n", "POINT_DATA 4\nSCALARS s bit\n",
        "POINT_DATA 4\nSCALARS s float\nLOOKUP_TABLE default\n1 2 3\n", "POINTS 4 double\n",
        "SCALARS s float\n"}) {
    CAPTURE(rest);
    CHECK_THROWS_AS(parse(head + points + rest), Error);
  }
  CHECK_THROWS_AS(parse(head), Error);
  CHECK_THROWS_AS(parse("solid cube\n"), Error);
  CHECK_THROWS_AS(parse(head + "POINTS 99999999999999999 double\n"), Error);
}
