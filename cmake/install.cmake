# What `cmake --install` puts on a machine: library, headers, command, pkg-config and CMake package files.
include(CMakePackageConfigHelpers)
install(TARGETS rfhe_shared rfhe_static rfhe_cli EXPORT rfhe-targets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
  RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY include/rfhe DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})

set(documents ${PROJECT_BINARY_DIR}/documents)
install(DIRECTORY ${documents}/man/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES ${documents}/completions/rfhe DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
install(FILES ${documents}/completions/_rfhe DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
install(FILES ${documents}/completions/rfhe.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
