# The CPU table of the compiled form, once for each x86-64 level.
#
# Two things keep the levels apart. Every function of flr lies in a namespace named after the level,
# and Eigen is renamed; but the same code also instantiates templates of the standard library and of
# fmt, and a linker that merges those could give a baseline processor a copy with AVX-512 inside. So
# the objects of a level are joined into one, its COMDAT groups dissolved, and every symbol but the
# entry points made local.

set(FLR_CPU_SCALARS f32 f64 bf16)

function(flr_cpu_table_objects target level march)
  foreach(scalar IN LISTS FLR_CPU_SCALARS)
    set(objects flr_cpu_${level}_${scalar})
    add_library(${objects} OBJECT ${PROJECT_SOURCE_DIR}/include/flr/cpu/cpu_table.cpp)
    set_target_properties(${objects} PROPERTIES
      POSITION_INDEPENDENT_CODE ON INTERPROCEDURAL_OPTIMIZATION OFF)
    target_compile_features(${objects} PRIVATE cxx_std_20)
    flr_warnings(${objects})
    target_include_directories(${objects} PRIVATE ${PROJECT_SOURCE_DIR}/include)
    target_compile_definitions(${objects} PRIVATE
      FLR_COMPILED FLR_CPU_ISA=${level} FLR_TABLE_SCALAR=${scalar} Eigen=flr_eigen_${level})
    # Optimised in every configuration: a kernel at -O0 is a hundred times slower and nobody debugs
    # Eigen. Under a sanitizer speed of compilation matters more.
    if(FLR_SANITIZE)
      target_compile_options(${objects} PRIVATE -O1 ${march})
    else()
      target_compile_options(${objects} PRIVATE -O3 ${march})
    endif()
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
      # A unique symbol cannot be made local. And g++ 12 warns of its own AVX-512 intrinsics, which
      # start from a register that they leave undefined on purpose (its bug 105593).
      target_compile_options(${objects} PRIVATE -fno-gnu-unique -Wno-maybe-uninitialized -Wno-uninitialized)
    endif()
    target_link_libraries(${objects} PRIVATE Eigen3::Eigen fmt::fmt)
    if(FLR_BLAS)
      target_compile_definitions(${objects} PRIVATE FLR_USE_BLAS)
      target_include_directories(${objects} SYSTEM PRIVATE ${FLR_BLAS_INCLUDE_DIR})
    endif()
  endforeach()
endfunction()

function(flr_join_cpu_table target level)
  set(joined ${PROJECT_BINARY_DIR}/flr_cpu_${level}.o)
  set(parts)
  set(targets)
  foreach(scalar IN LISTS FLR_CPU_SCALARS)
    list(APPEND parts $<TARGET_OBJECTS:flr_cpu_${level}_${scalar}>)
    list(APPEND targets flr_cpu_${level}_${scalar})
  endforeach()
  # Makefiles know a rule for an object file only in the folder that compiles it.
  if(CMAKE_GENERATOR MATCHES "Ninja")
    set(targets ${parts})
  endif()
  add_custom_command(
    OUTPUT ${joined}
    COMMAND ${FLR_GNU_LD} -r --force-group-allocation -o ${joined}.shared ${parts}
    COMMAND ${CMAKE_OBJCOPY} --wildcard --keep-global-symbol=flr_cpu_table_${level}_*
            ${joined}.shared ${joined}
    COMMAND ${CMAKE_COMMAND} -E rm ${joined}.shared
    DEPENDS ${targets}
    COMMENT "Joining the CPU table for x86-64-${level}"
    COMMAND_EXPAND_LISTS VERBATIM)
  set_source_files_properties(${joined} PROPERTIES EXTERNAL_OBJECT ON GENERATED ON)
  target_sources(${target} PRIVATE ${joined})
endfunction()

# flr_add_cpu_tables(<target>): adds the tables to a static library and tells its dispatcher which
# ones there are, as FLR_HAS_CPU_<level>.
function(flr_add_cpu_tables target)
  find_program(FLR_GNU_LD NAMES ${CMAKE_CXX_COMPILER_TARGET}-ld.bfd ld.bfd)
  mark_as_advanced(FLR_GNU_LD)
  if(CMAKE_SYSTEM_NAME STREQUAL "Linux" AND CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64"
     AND FLR_GNU_LD AND CMAKE_OBJCOPY)
    foreach(level IN LISTS FLR_CPU_LEVELS)
      flr_cpu_table_objects(${target} ${level} -march=x86-64-${level})
      flr_join_cpu_table(${target} ${level})
      target_compile_definitions(${target} PRIVATE FLR_HAS_CPU_${level})
    endforeach()
  else()
    message(STATUS "flr: one CPU table with the compiler's own flags "
                   "(several need Linux on x86-64, GNU ld and objcopy)")
    flr_cpu_table_objects(${target} base "")
    foreach(scalar IN LISTS FLR_CPU_SCALARS)
      target_sources(${target} PRIVATE $<TARGET_OBJECTS:flr_cpu_base_${scalar}>)
    endforeach()
    target_compile_definitions(${target} PRIVATE FLR_HAS_CPU_base)
  endif()
endfunction()
