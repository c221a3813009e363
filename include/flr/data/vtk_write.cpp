#include "flr/data/vtk.hpp"

namespace flr::data {

namespace {

// The XML part names arrays by their offset in the appended part, so both grow side by side.
class VtkXml {
 public:
  explicit VtkXml(const char* type) : type_(type) {}

  void line(const std::string& text) { xml_ += text + "\n"; }

  void array(const char* type, const std::string& name, std::int64_t components, Array values) {
    xml_ += fmt::format(
        "<DataArray type=\"{}\" Name=\"{}\" NumberOfComponents=\"{}\" "
        "format=\"appended\" offset=\"{}\"/>\n",
        type, escaped(name), components, offset_);
    offset_ += sizeof(std::uint64_t) + values.bytes().size();
    arrays_.push_back(std::move(values));
  }

  void write(const std::filesystem::path& path) const {
    atomic_write(path, [&](Sink& sink) {
      sink.write(
          fmt::format("<?xml version=\"1.0\"?>\n<VTKFile type=\"{0}\" version=\"1.0\" "
                      "byte_order=\"LittleEndian\" header_type=\"UInt64\">\n<{0}",
                      type_));
      sink.write(xml_);
      sink.write(fmt::format("</{}>\n<AppendedData encoding=\"raw\">\n_", type_));
      for (const Array& array : arrays_) {
        std::string size;
        append_le(size, static_cast<std::uint64_t>(array.bytes().size()));
        sink.write(size);
        sink.write(array.bytes());
      }
      sink.write("\n</AppendedData>\n</VTKFile>\n");
    });
  }

  static std::string escaped(const std::string& text) {
    std::string result;
    for (char c : text) {
      if (c == '&')
        result += "&amp;";
      else if (c == '<')
        result += "&lt;";
      else if (c == '"')
        result += "&quot;";
      else
        result += c;
    }
    return result;
  }

 private:
  const char* type_;
  std::string xml_;
  std::uint64_t offset_ = 0;
  std::vector<Array> arrays_;
};

// [N, 2 or 3] of any type as float32 [N, 3].
Array in_space(const Array& points) {
  const Array flat = points.convert(ElementType::f32);
  if (points.extent(-1) == 3) return flat;
  Array result(ElementType::f32, {points.numel() / 2, 3});
  const auto from = flat.as<float>();
  const auto to = result.mutable_as<float>();
  for (std::size_t i = 0; 2 * i < from.size(); ++i) {
    to[3 * i] = from[2 * i];
    to[3 * i + 1] = from[2 * i + 1];
  }
  return result;
}

// `extents`: those of the points, without their coordinates' axis.
void add_fields(VtkXml& xml, const VtkFields& fields, const std::vector<std::int64_t>& extents) {
  xml.line("<PointData>");
  for (const auto& [name, values] : fields) {
    auto expected = extents;
    const bool has_components = values.rank() == static_cast<int>(extents.size()) + 1;
    if (has_components) expected.push_back(values.extent(-1));
    check(values.shape() == expected && (!has_components || values.extent(-1) > 0),
          "[vtk] field '{}': expected {}, components behind it or not; got {}", name,
          shape_text(extents), shape_text(values.shape()));
    xml.array("Float32", name, has_components ? values.extent(-1) : 1,
              values.convert(ElementType::f32));
  }
  xml.line("</PointData>");
}

std::uint8_t cell_type(std::int64_t points) {
  switch (points) {
    case 1: return 1;   // vertex
    case 2: return 3;   // line
    case 3: return 5;   // triangle
    case 4: return 9;   // quadrilateral
    case 8: return 12;  // hexahedron
    default: fail("[vtk] expected cells of 1, 2, 3, 4 or 8 points; got {}", points);
  }
}

Array counting(std::int64_t first, std::int64_t n, std::int64_t step) {
  std::vector<std::int64_t> values;
  for (std::int64_t i = 0; i < n; ++i) values.push_back(first + i * step);
  return Array(values, {n});
}

}  // namespace

void write_vtu(const std::filesystem::path& path, const Array& points, const VtkFields& fields,
               const Array& cells) {
  check(points.rank() == 2 && (points.extent(1) == 2 || points.extent(1) == 3),
        "[vtk] expected points [N, 2 or 3]; got {}", shape_text(points.shape()));
  check(cells.rank() == 2, "[vtk] expected cells [C, points of a cell]; got {}",
        shape_text(cells.shape()));
  const std::int64_t n = points.extent(0);
  const bool cloud = cells.extent(0) == 0;
  const std::int64_t count = cloud ? n : cells.extent(0), width = cloud ? 1 : cells.extent(1);
  Array connectivity = cloud ? counting(0, n, 1) : cells.convert(ElementType::i64);
  for (std::int64_t point : connectivity.as<std::int64_t>())
    check(point >= 0 && point < n, "[vtk] expected point numbers in [0, {}); got {}", n, point);

  VtkXml xml("UnstructuredGrid");
  xml.line(fmt::format(">\n<Piece NumberOfPoints=\"{}\" NumberOfCells=\"{}\">", n, count));
  add_fields(xml, fields, {n});
  xml.line("<Points>");
  xml.array("Float32", "Points", 3, in_space(points));
  xml.line("</Points>\n<Cells>");
  xml.array("Int64", "connectivity", 1, std::move(connectivity));
  xml.array("Int64", "offsets", 1, counting(width, count, width));
  xml.array(
      "UInt8", "types", 1,
      Array(std::vector<std::uint8_t>(static_cast<std::size_t>(count), cell_type(width)), {count}));
  xml.line("</Cells>\n</Piece>");
  xml.write(path);
}

void write_vts(const std::filesystem::path& path, const Array& points, const VtkFields& fields) {
  const bool plane = points.rank() == 3 && (points.extent(2) == 2 || points.extent(2) == 3);
  check((plane || (points.rank() == 4 && points.extent(3) == 3)) && points.numel() > 0,
        "[vtk] expected points [n0, n1, 2 or 3] or [n0, n1, n2, 3]; got {}",
        shape_text(points.shape()));
  const std::vector<std::int64_t> extents(points.shape().begin(), points.shape().end() - 1);
  // VTK's first axis runs fastest, ours last: the axes are named backwards and the data stays.
  std::string whole;
  for (std::size_t a = extents.size(); a-- > 0;) whole += fmt::format("0 {} ", extents[a] - 1);
  if (plane) whole += "0 0 ";
  whole.pop_back();

  VtkXml xml("StructuredGrid");
  xml.line(fmt::format(" WholeExtent=\"{0}\">\n<Piece Extent=\"{0}\">", whole));
  add_fields(xml, fields, extents);
  xml.line("<Points>");
  xml.array("Float32", "Points", 3, in_space(points));
  xml.line("</Points>\n</Piece>");
  xml.write(path);
}

}  // namespace flr::data
