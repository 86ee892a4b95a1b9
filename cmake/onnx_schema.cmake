# The ONNX schema in C, generated at build time from the onnx.proto that libonnx-dev installs: nothing is copied in.
find_file(ONNX_PROTO onnx/onnx.proto REQUIRED)
find_program(PROTOC_C protoc-c REQUIRED)
cmake_path(GET ONNX_PROTO PARENT_PATH onnx_proto_folder)
set(schema ${PROJECT_BINARY_DIR}/generated/onnx.pb-c)

add_custom_command(OUTPUT ${schema}.c ${schema}.h
  COMMAND ${CMAKE_COMMAND} -E make_directory ${PROJECT_BINARY_DIR}/generated
  COMMAND ${PROTOC_C} --proto_path=${onnx_proto_folder} --c_out=${PROJECT_BINARY_DIR}/generated ${ONNX_PROTO}
  DEPENDS ${ONNX_PROTO} VERBATIM)
# Machine-made code: none of our warnings.
add_library(rfhe_onnx_schema OBJECT ${schema}.c ${schema}.h)
target_include_directories(rfhe_onnx_schema PUBLIC ${PROJECT_BINARY_DIR}/generated)
target_link_libraries(rfhe_onnx_schema PUBLIC PkgConfig::PROTOBUF_C)
target_compile_options(rfhe_onnx_schema PRIVATE -w)
set_property(GLOBAL APPEND PROPERTY RFHE_OBJECTS $<TARGET_OBJECTS:rfhe_onnx_schema>)
