# Third-party libraries. Each is first looked for as an installed CMake package. A machine without
# packages can carry a folder of headers instead: -DFLR_DEPS_DIR=<folder> with <folder>/include.
set(FLR_DEPS_DIR "" CACHE PATH "Folder with include/ (and lib/) of carried dependencies")

# flr_find(<package> <target> <header>): the package, or an interface target for its carried header.
function(flr_find package target header)
  if(TARGET ${target})
    return()
  endif()
  find_package(${package} CONFIG QUIET GLOBAL)
  if(TARGET ${target})
    return()
  endif()
  find_path(FLR_${package}_INCLUDE ${header} HINTS "${FLR_DEPS_DIR}/include"
            PATH_SUFFIXES eigen3)
  mark_as_advanced(FLR_${package}_INCLUDE)
  if(NOT FLR_${package}_INCLUDE)
    message(FATAL_ERROR "flr needs ${package}: install its package (tools/build does it on Debian "
                        "and Ubuntu), or give a folder that has include/${header} as FLR_DEPS_DIR")
  endif()
  add_library(${target} INTERFACE IMPORTED GLOBAL)
  target_include_directories(${target} SYSTEM INTERFACE ${FLR_${package}_INCLUDE})
endfunction()

flr_find(Eigen3 Eigen3::Eigen Eigen/Core)
flr_find(fmt fmt::fmt-header-only fmt/core.h)
if(NOT TARGET fmt::fmt)
  target_compile_definitions(fmt::fmt-header-only INTERFACE FMT_HEADER_ONLY)
  add_library(fmt::fmt ALIAS fmt::fmt-header-only)
endif()
flr_find(nlohmann_json nlohmann_json::nlohmann_json nlohmann/json.hpp)
if(FLR_BUILD_EXAMPLES)
  flr_find(CLI11 CLI11::CLI11 CLI/CLI.hpp)
endif()
if(FLR_BUILD_TESTS)
  flr_find(doctest doctest::doctest doctest/doctest.h)
endif()
if(FLR_BUILD_BENCH)
  find_package(benchmark CONFIG QUIET)
endif()

if(FLR_DEPS_DIR)
  list(APPEND CMAKE_PREFIX_PATH "${FLR_DEPS_DIR}")
endif()
find_package(ZLIB REQUIRED)
find_package(Threads REQUIRED)

find_package(OpenMP COMPONENTS CXX QUIET)
if(NOT OpenMP_CXX_FOUND)
  message(STATUS "flr: ${CMAKE_CXX_COMPILER_ID} has no OpenMP here; the CPU will use one thread")
endif()

if(FLR_BLAS)
  find_path(FLR_BLAS_INCLUDE_DIR cblas.h PATH_SUFFIXES openblas
            HINTS /usr/include/${CMAKE_LIBRARY_ARCHITECTURE})
  find_library(FLR_BLAS_LIBRARY NAMES openblas cblas blas)
  if(NOT FLR_BLAS_INCLUDE_DIR OR NOT FLR_BLAS_LIBRARY)
    message(FATAL_ERROR "FLR_BLAS needs a BLAS with cblas.h, such as OpenBLAS (libopenblas-dev)")
  endif()
endif()

if(FLR_CUDA)
  find_package(CUDAToolkit 12.8 REQUIRED)  # cuBLASLt, NVRTC and the run-time library
endif()
