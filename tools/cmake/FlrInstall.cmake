# Installation and the package that find_package(flr) reads.
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/flr)
set(libraries flr_header_only flr flr_data flr_train)
if(FLR_CUDA)
  list(APPEND libraries flr_cuda)
endif()
install(TARGETS ${libraries} EXPORT flrTargets)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/flr TYPE INCLUDE FILES_MATCHING PATTERN "*.hpp")
install(EXPORT flrTargets NAMESPACE flr:: DESTINATION ${package_dir})

configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/flrConfig.cmake.in
  ${PROJECT_BINARY_DIR}/flrConfig.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/flrConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/flrConfig.cmake ${PROJECT_BINARY_DIR}/flrConfigVersion.cmake
  DESTINATION ${package_dir})
