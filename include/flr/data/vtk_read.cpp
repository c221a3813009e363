#include <algorithm>

#include "flr/data/vtk.hpp"
#include "flr/data/vtk_tokens.hpp"

namespace flr::data {

namespace {

// Before version 5: every cell is its number of points and the points.
void read_counted_cells(VtkTokens& file, std::int64_t cells, std::int64_t numbers, VtkMesh& mesh) {
  check(cells <= numbers, "[vtk] {} is damaged: {} cells cannot be {} numbers", file.name(), cells,
        numbers);
  const Array list = file.numbers(ElementType::i32, {numbers});
  const auto values = list.as<std::int32_t>();
  std::vector<std::int64_t> points, offsets = {0};
  points.reserve(values.size());
  for (std::size_t at = 0; at < values.size();) {
    const auto count = values[at++];
    check(count >= 0 && static_cast<std::size_t>(count) <= values.size() - at,
          "[vtk] {} is damaged: cell {} claims {} points", file.name(), offsets.size() - 1, count);
    points.insert(points.end(), values.begin() + static_cast<std::ptrdiff_t>(at),
                  values.begin() + static_cast<std::ptrdiff_t>(at) + count);
    at += static_cast<std::size_t>(count);
    offsets.push_back(static_cast<std::int64_t>(points.size()));
  }
  check(static_cast<std::int64_t>(offsets.size()) == cells + 1,
        "[vtk] {} is damaged: expected {} cells; got {}", file.name(), cells, offsets.size() - 1);
  mesh.connectivity = Array(points, {static_cast<std::int64_t>(points.size())});
  mesh.offsets = Array(offsets, {cells + 1});
}

Array named_numbers(VtkTokens& file, const char* keyword, std::int64_t n) {
  const std::string word = file.word();
  check(word == keyword, "[vtk] {} is damaged: expected {}; got '{:.40}'", file.name(), keyword,
        word);
  const ElementType type = file.type();
  return file.numbers(type, {n}).convert(ElementType::i64);
}

void read_cells(VtkTokens& file, bool since_version_5, VtkMesh& mesh) {
  const std::int64_t first = file.count(), second = file.count();
  if (!since_version_5) return read_counted_cells(file, first, second, mesh);
  if (first == 0) return;
  mesh.offsets = named_numbers(file, "OFFSETS", first);
  mesh.connectivity = named_numbers(file, "CONNECTIVITY", second);
  const auto offsets = mesh.offsets.as<std::int64_t>();
  check(offsets.front() == 0 && offsets.back() == second &&
            std::is_sorted(offsets.begin(), offsets.end()),
        "[vtk] {} is damaged: expected offsets from 0 to {} in order", file.name(), second);
}

// The attributes of points or cells: name and values of one section. `n` is the number of them.
void read_attribute(VtkTokens& file, const std::string& kind, std::int64_t n, VtkFields& fields) {
  const auto add = [&](const std::string& name, std::int64_t components, ElementType type) {
    std::vector<std::int64_t> shape = {n};
    if (components != 1) shape.push_back(components);
    check(fields.emplace(name, file.numbers(type, shape)).second,
          "[vtk] {} has two fields named '{}'", file.name(), name);
  };
  if (kind == "VECTORS" || kind == "NORMALS") {
    const std::string name = file.word();
    add(name, 3, file.type());
  } else if (kind == "SCALARS") {
    const std::string name = file.word();
    const ElementType type = file.type();
    const std::int64_t components = file.more_on_line() ? file.count() : 1;
    const std::string table = file.word();
    check(table == "LOOKUP_TABLE" && components >= 1 && components <= 4,
          "[vtk] {} is damaged: expected SCALARS of 1 to 4 components and LOOKUP_TABLE; got {}, "
          "'{:.40}'",
          file.name(), components, table);
    file.word();
    add(name, components, type);
  } else if (kind == "FIELD") {
    file.word();
    for (std::int64_t arrays = file.count(); arrays > 0; --arrays) {
      const std::string name = file.word();
      const std::int64_t components = file.count(), tuples = file.count();
      check(tuples == n, "[vtk] {}: expected {} values in field '{}'; got {}", file.name(), n, name,
            tuples);
      add(name, components, file.type());
    }
  } else {
    fail("[vtk] {}: section '{:.40}' is not read", file.name(), kind);
  }
}

VtkMesh read(const Source& source) {
  VtkTokens file(source);
  static constexpr std::string_view magic = "# vtk DataFile Version ";
  const std::string version = file.line();
  check(version.starts_with(magic), "[vtk] {} is not a legacy .vtk file: its first line differs",
        file.name());
  const bool since_5 = version.size() > magic.size() && version[magic.size()] >= '5';
  file.line();  // a title
  const std::string coding = file.word();
  check(coding == "ASCII" || coding == "BINARY",
        "[vtk] {} is damaged: expected ASCII or BINARY; got '{:.40}'", file.name(), coding);
  file.binary = coding == "BINARY";
  const std::string keyword = file.word(), dataset = file.word();
  check(keyword == "DATASET" && (dataset == "UNSTRUCTURED_GRID" || dataset == "POLYDATA"),
        "[vtk] {}: expected DATASET UNSTRUCTURED_GRID or POLYDATA; got '{:.40}' '{:.40}'",
        file.name(), keyword, dataset);

  VtkMesh mesh;
  VtkFields skipped;
  VtkFields* fields = nullptr;
  bool has_points = false, has_cells = false;
  std::int64_t n = 0, attributes = 0;
  for (std::string section = file.word(); !section.empty(); section = file.word()) {
    if (section == "POINTS" && !has_points) {
      has_points = true;
      n = file.count();
      mesh.points = file.numbers(file.type(), {n, 3});
    } else if ((section == "CELLS" || section == "POLYGONS") && !has_cells) {
      has_cells = true;
      read_cells(file, since_5, mesh);
    } else if (section == "CELL_TYPES") {
      file.numbers(ElementType::i32, {file.count()});
    } else if (section == "POINT_DATA" || section == "CELL_DATA") {
      fields = section == "POINT_DATA" ? &mesh.point_fields : &skipped;
      attributes = file.count();
      const std::int64_t expected = fields == &skipped ? mesh.offsets.numel() - 1 : n;
      check(attributes == expected, "[vtk] {}: expected {} of {}; got {}", file.name(), section,
            expected, attributes);
    } else if (section == "METADATA") {
      file.line();
      while (!file.line().empty()) {
      }
    } else {
      check(fields != nullptr, "[vtk] {}: section '{:.40}' is not read here", file.name(), section);
      read_attribute(file, section, attributes, *fields);
    }
  }
  check(has_points, "[vtk] {} has no POINTS", file.name());
  for (std::int64_t point : mesh.connectivity.as<std::int64_t>())
    check(point >= 0 && point < n, "[vtk] {} is damaged: expected point numbers in [0, {}); got {}",
          file.name(), n, point);
  return mesh;
}

}  // namespace

Array VtkMesh::uniform_cells() const {
  const auto begin = offsets.as<std::int64_t>();
  const std::int64_t cells = offsets.numel() - 1;
  const std::int64_t width = cells > 0 ? begin[1] - begin[0] : 0;
  for (std::size_t c = 0; c < static_cast<std::size_t>(cells); ++c)
    check(begin[c + 1] - begin[c] == width,
          "[vtk] expected cells of {} points each, as the first; cell {} has {}", width, c,
          begin[c + 1] - begin[c]);
  return connectivity.reshaped({cells, width});
}

VtkMesh read_vtk(const std::filesystem::path& path) {
  return read(Source(path));
}

VtkMesh parse_vtk(std::span<const std::byte> bytes, const std::string& name) {
  return read(Source(bytes, name));
}

}  // namespace flr::data
