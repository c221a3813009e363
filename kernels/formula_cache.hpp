// Formulas' kernels, compiled once: NVRTC, a cache in the process and a cache on disk.
#pragma once

#include <cuda_runtime_api.h>

#include <string>

namespace flr::cuda {

/// Machine code (or PTX, for an architecture that this NVRTC does not know) of a source made by
/// formula_source, for compute capability architecture / 10 . architecture % 10. Needs no GPU.
/// `formula` is what an error message calls it.
std::string compile_formula_for(const std::string& source, int architecture,
                                const std::string& formula = "");

/// The same through the cache on disk: the folder flr in $XDG_CACHE_HOME or ~/.cache, or the folder
/// $FLR_CACHE; FLR_CACHE=off keeps nothing. A file that is damaged is made again, and a folder that
/// cannot be written to is no error.
std::string cached_formula_for(const std::string& source, int architecture,
                               const std::string& formula = "");

/// The kernel of a source, loaded on the current device. Valid for the process's life.
cudaKernel_t formula_kernel(const std::string& source, const std::string& formula);

}  // namespace flr::cuda
