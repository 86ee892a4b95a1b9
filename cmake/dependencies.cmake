# The libraries of Debian 12 that we lean on; tools/setup.sh installs them. rfhe_deps carries them all.
find_package(PkgConfig REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS C)
find_package(ZLIB REQUIRED)
pkg_check_modules(PROTOBUF_C REQUIRED IMPORTED_TARGET libprotobuf-c)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)
pkg_check_modules(SQLITE3 REQUIRED IMPORTED_TARGET sqlite3)
pkg_check_modules(SODIUM REQUIRED IMPORTED_TARGET libsodium)
pkg_check_modules(MPFR REQUIRED IMPORTED_TARGET mpfr)
pkg_check_modules(TURBOJPEG REQUIRED IMPORTED_TARGET libturbojpeg)
pkg_check_modules(SPNG REQUIRED IMPORTED_TARGET spng)

add_library(rfhe_deps INTERFACE)
target_link_libraries(rfhe_deps INTERFACE OpenMP::OpenMP_C ZLIB::ZLIB PkgConfig::PROTOBUF_C PkgConfig::JANSSON
  PkgConfig::SQLITE3 PkgConfig::SODIUM PkgConfig::MPFR PkgConfig::TURBOJPEG PkgConfig::SPNG m)

# Debian's own CMake file for oneDNN stops unless OpenCL headers are installed, so look for the parts ourselves.
if(RFHE_WITH_ONEDNN)
  find_path(ONEDNN_INCLUDE_DIR oneapi/dnnl/dnnl.h REQUIRED)
  find_library(ONEDNN_LIBRARY dnnl REQUIRED)
  add_library(rfhe_onednn INTERFACE)
  target_include_directories(rfhe_onednn SYSTEM INTERFACE ${ONEDNN_INCLUDE_DIR})
  target_link_libraries(rfhe_onednn INTERFACE ${ONEDNN_LIBRARY})
  target_compile_definitions(rfhe_onednn INTERFACE RFHE_WITH_ONEDNN=1)
  target_link_libraries(rfhe_deps INTERFACE rfhe_onednn)
endif()
