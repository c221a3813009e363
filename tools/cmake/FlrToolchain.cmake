# Warnings, sanitizers, the compiler cache, and where programs land.

# g++ 12 and clang 14 are promised to be free of warnings; a newer compiler may find new ones, and
# those must not stop anybody's build.
set(promised OFF)
if(PROJECT_IS_TOP_LEVEL AND
   ((CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION MATCHES "^12\\.") OR
    (CMAKE_CXX_COMPILER_ID STREQUAL "Clang" AND CMAKE_CXX_COMPILER_VERSION MATCHES "^14\\.")))
  set(promised ON)
endif()
option(FLR_WERROR "Treat warnings as errors" ${promised})

function(flr_warnings target)
  target_compile_options(${target} PRIVATE -Wall -Wextra $<$<BOOL:${FLR_WERROR}>:-Werror>)
  # At -O3, CMake's own Release, g++ 12 warns of concatenated std::strings (its bug 105651).
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION MATCHES "^12\\.")
    target_compile_options(${target} PRIVATE -Wno-restrict)
  endif()
endfunction()

if(FLR_SANITIZE)
  list(JOIN FLR_SANITIZE "," joined)
  # Frame pointers for readable stacks; any report ends the program, so that a test fails.
  add_compile_options(-fsanitize=${joined} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${joined})
endif()

if(PROJECT_IS_TOP_LEVEL)
  if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
  endif()
  set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")
  set(CMAKE_CXX_EXTENSIONS OFF)
  set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
  find_program(FLR_CCACHE ccache)
  mark_as_advanced(FLR_CCACHE)
  if(FLR_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
    set(CMAKE_CXX_COMPILER_LAUNCHER "${FLR_CCACHE}")
  endif()
endif()
