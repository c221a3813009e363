"""Makes the small reference files beside it with NumPy, SciPy, safetensors and VTK: the files that the
readers of data/ are tested on. Run it in this folder; the files are committed, so that the tests need
no Python."""

import io
import json
import struct
import zipfile

import numpy as np
import scipy.io
import scipy.sparse
import vtk
from safetensors.numpy import save_file
from vtk.util.numpy_support import numpy_to_vtk

GRID = np.arange(24).reshape(2, 3, 4)


def npy(name, array, version=None):
    with open(name, "wb") as file:
        np.lib.format.write_array(file, array, version=version)


npy("c_f4.npy", (GRID / 8).astype("<f4"))
npy("fortran_f8.npy", np.asfortranarray((GRID / 8).astype("<f8")))
npy("big_endian_i4.npy", (GRID - 12).astype(">i4"))
npy("fortran_big_endian_u2.npy", np.asfortranarray(GRID.astype(">u2")))
npy("bool.npy", GRID % 3 == 0)
npy("half.npy", np.array([0, -0.0, 1, -2.5, 65504, 6e-8, np.inf], "<f2"))
npy("scalar_i8.npy", np.array(-7, "<i8"))
npy("empty.npy", np.zeros((3, 0), "<f4"))
npy("version2.npy", np.arange(5, dtype="<u8"), (2, 0))
npy("version3.npy", np.arange(5, dtype="i1"), (3, 0))
np.save("object.npy", np.array([{}, None], dtype=object), allow_pickle=True)
npy("structured.npy", np.zeros(2, dtype=[("a", "<f4"), ("b", "<i4")]))
npy("complex.npy", np.zeros(2, dtype="<c8"))

arrays = {"x": (GRID / 8).astype("<f4"), "mask": GRID % 2 == 0, "label": np.arange(6)}
np.savez("stored.npz", **arrays)
np.savez_compressed("deflated.npz", **arrays)


class Pipe(io.RawIOBase):
    """Not seekable, so zipfile writes sizes behind the data (data descriptors)."""

    def __init__(self, file):
        self.file = file

    def writable(self):
        return True

    def write(self, data):
        return self.file.write(data)


with open("descriptors.npz", "wb") as file:
    with zipfile.ZipFile(Pipe(file), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            data = io.BytesIO()
            np.save(data, array)
            archive.writestr(name + ".npy", data.getvalue())
        archive.writestr("notes.txt", "not an array")
        archive.comment = b"a comment behind the directory"

mixed = {
    "double": GRID / 8,
    "single": (GRID / 8).astype("f4"),
    "narrow": GRID.astype("f8"),
    "int8": (GRID - 12).astype("i1"),
    "uint16": GRID.astype("u2"),
    "int64": GRID.astype("i8") - (1 << 40),
    "logical": GRID % 3 == 0,
    "row": np.arange(3.0),
    "scalar": 2.5,
    "byte": np.uint8(7),
    "empty": np.zeros((0, 3)),
    "text": "words",
    "cell": np.array([1.0, "two"], dtype=object),
    "record": {"a": 1.0},
    "sparse": scipy.sparse.eye(3, format="csc"),
    "wave": np.array([1 + 2j]),
}
scipy.io.savemat("plain.mat", mixed)
scipy.io.savemat("compressed.mat", mixed, do_compression=True)

# A big-endian file with doubles stored as 16-bit integers, as MATLAB on old workstations wrote it.
body = struct.pack(">IIII", 6, 8, 6, 0)
body += struct.pack(">IIii", 5, 8, 2, 3)
body += struct.pack(">HH4s", 1, 1, b"x")
body += struct.pack(">II6h4x", 3, 12, 1, 2, 3, 4, 5, -6)
with open("big_endian.mat", "wb") as file:
    file.write(b"MATLAB 5.0 MAT-file, big-endian".ljust(116) + bytes(8) + b"\x01\x00MI")
    file.write(struct.pack(">II", 14, len(body)) + body)

with open("v73.mat", "wb") as file:
    file.write(b"MATLAB 7.3 MAT-file".ljust(116) + bytes(8) + b"\x00\x02IM")
    file.write(bytes(512 - 128) + b"\x89HDF\r\n\x1a\n")

save_file(
    {
        "weight": (GRID / 8).astype("f4"),
        "double": np.arange(3) / 4,
        "half": np.array([0.5, -1.5], "f2"),
        "label": np.arange(4) - 2,
        "byte": np.arange(5, dtype="u1"),
        "keep": np.array([True, False, True]),
        "scalar": np.array(3, "i4"),
    },
    "reference.safetensors",
    metadata={"model": "a \"quoted\" näme", "step": "12"},
)

# bfloat16, which NumPy has not: 1, −2 and 3.140625.
header = json.dumps({"b": {"dtype": "BF16", "shape": [3], "data_offsets": [0, 6]}}).encode()
with open("bf16.safetensors", "wb") as file:
    file.write(struct.pack("<Q", len(header)) + header + struct.pack("<3H", 0x3F80, 0xC000, 0x4049))

mesh = vtk.vtkUnstructuredGrid()
points = vtk.vtkPoints()
for x, y, z in [(0, 0, 0), (1, 0, 0.5), (1, 1, 0), (0, 1, 0), (2, 0, 0), (2, 1, 0.25)]:
    points.InsertNextPoint(x, y, z)
mesh.SetPoints(points)
for quad in [(0, 1, 2, 3), (1, 4, 5, 2)]:
    corners = vtk.vtkIdList()
    for corner in quad:
        corners.InsertNextId(corner)
    mesh.InsertNextCell(vtk.VTK_QUAD, corners)


def field(name, array, add):
    values = numpy_to_vtk(array, deep=1)
    values.SetName(name)
    add(values)


field("pressure", np.arange(6, dtype="f4") / 4, mesh.GetPointData().SetScalars)
field("velocity", np.arange(18, dtype="f8").reshape(6, 3), mesh.GetPointData().SetVectors)
field("pair", np.arange(12, dtype="i4").reshape(6, 2), mesh.GetPointData().AddArray)
field("id", np.arange(2, dtype="i4"), mesh.GetCellData().AddArray)
for version, number in (("old", 42), ("new", 51)):
    for coding, code in (("ascii", vtk.VTK_ASCII), ("binary", vtk.VTK_BINARY)):
        writer = vtk.vtkUnstructuredGridWriter()
        writer.SetInputData(mesh)
        writer.SetFileVersion(number)
        writer.SetFileType(code)
        writer.SetFileName(f"{version}_{coding}.vtk")
        writer.Write()
