// VTK files: fields for ParaView, and meshes from legacy .vtk files (ShapeNet-Car).
// Formats: "VTK File Formats" (Kitware), XML with appended raw data, and legacy.
#pragma once

#include <map>

#include "flr/data/array.hpp"
#include "flr/data/file.hpp"

namespace flr::data {

/// Values at points: [points] or [points, components], written as float32.
using VtkFields = std::map<std::string, Array>;

/// Writes a .vtu file: points [N, 2 or 3] (z = 0 in the plane) with fields at them, and cells [C,
/// k] of point numbers: k = 3 triangles, 4 quadrilaterals, 8 hexahedra. Without cells (the default)
/// every point is a vertex of its own, and ParaView shows a point cloud.
void write_vtu(const std::filesystem::path& path, const Array& points, const VtkFields& fields,
               const Array& cells = Array(ElementType::i64, {0, 1}));

/// Writes a .vts file, a structured grid: points [n0, n1, 2 or 3] or [n0, n1, n2, 3], and fields of
/// extents [n0, n1(, n2)] or the same with components behind.
void write_vts(const std::filesystem::path& path, const Array& points, const VtkFields& fields);

/// A mesh of any mixture of cells. Cell c joins the points
/// connectivity[offsets[c]] … connectivity[offsets[c + 1] − 1].
struct VtkMesh {
  Array points;                               ///< [N, 3], in the type of the file
  Array connectivity{ElementType::i64, {0}};  ///< int64, each in [0, N)
  Array offsets{ElementType::i64, {1}};       ///< int64 [C + 1], from 0, not decreasing
  VtkFields point_fields;                     ///< [N] or [N, components], in their own types

  /// The cells as [C, k], where all of them have k points; refuses a mixture.
  Array uniform_cells() const;
};

/// Reads a legacy .vtk file, ASCII or binary: DATASET UNSTRUCTURED_GRID or POLYDATA with POINTS,
/// CELLS or POLYGONS (in the layout before and since version 5), CELL_TYPES, and point data in
/// SCALARS, VECTORS, NORMALS and FIELD. Cell data is skipped. Other sections are refused by name.
VtkMesh read_vtk(const std::filesystem::path& path);
VtkMesh parse_vtk(std::span<const std::byte> bytes, const std::string& name = "memory");

}  // namespace flr::data
