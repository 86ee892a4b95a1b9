# What `cmake --install` puts on a machine: library, headers, command, pkg-config and CMake package files, man pages,
# completions. The package files find their neighbours by relative paths, so an installed tree may be moved.
include(CMakePackageConfigHelpers)

install(TARGETS rfhe_shared rfhe_static EXPORT rfhe-targets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
  INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(TARGETS rfhe_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY include/rfhe DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES LICENSE docs/licenses.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
if(EXISTS ${PROJECT_SOURCE_DIR}/models)
  install(DIRECTORY models/ DESTINATION ${CMAKE_INSTALL_DATADIR}/rfhe/models FILES_MATCHING PATTERN *.onnx)
endif()

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/rfhe)
install(EXPORT rfhe-targets NAMESPACE rfhe:: DESTINATION ${package_dir})
configure_package_config_file(cmake/rfhe-config.cmake.in ${PROJECT_BINARY_DIR}/rfhe-config.cmake
  INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/rfhe-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/rfhe-config.cmake ${PROJECT_BINARY_DIR}/rfhe-config-version.cmake
  DESTINATION ${package_dir})

cmake_path(RELATIVE_PATH CMAKE_INSTALL_FULL_LIBDIR BASE_DIRECTORY ${CMAKE_INSTALL_PREFIX} OUTPUT_VARIABLE rfhe_pc_libdir)
cmake_path(RELATIVE_PATH CMAKE_INSTALL_PREFIX BASE_DIRECTORY ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig
  OUTPUT_VARIABLE rfhe_pc_up)
cmake_path(RELATIVE_PATH CMAKE_INSTALL_FULL_INCLUDEDIR BASE_DIRECTORY ${CMAKE_INSTALL_PREFIX}
  OUTPUT_VARIABLE rfhe_pc_includedir)
set(rfhe_pc_onednn "")
if(RFHE_WITH_ONEDNN)
  set(rfhe_pc_onednn "-ldnnl")
endif()
configure_file(cmake/rfhe.pc.in ${PROJECT_BINARY_DIR}/rfhe.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/rfhe.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

set(documents ${PROJECT_BINARY_DIR}/documents)
install(DIRECTORY ${documents}/man/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES ${documents}/completions/rfhe DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
install(FILES ${documents}/completions/_rfhe DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
install(FILES ${documents}/completions/rfhe.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
