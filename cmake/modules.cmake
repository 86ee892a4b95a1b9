# rfhe_module(NAME): compiles src/NAME/*.c into librfhe. rfhe_module_isa(NAME ISA FLAGS...): src/NAME/ISA/*.c with its own flags.
set_property(GLOBAL PROPERTY RFHE_OBJECTS "")

function(_rfhe_objects target)
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src ${PROJECT_BINARY_DIR}/generated)
  target_link_libraries(${target} PRIVATE rfhe_flags rfhe_deps)
  target_compile_definitions(${target} PRIVATE RFHE_BUILD)
  set_property(GLOBAL APPEND PROPERTY RFHE_OBJECTS $<TARGET_OBJECTS:${target}>)
endfunction()

function(rfhe_module name)
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${name}/*.c)
  add_library(rfhe_${name} OBJECT ${sources})
  _rfhe_objects(rfhe_${name})
endfunction()

function(rfhe_module_isa name isa)
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${name}/${isa}/*.c)
  add_library(rfhe_${name}_${isa} OBJECT ${sources})
  _rfhe_objects(rfhe_${name}_${isa})
  target_compile_options(rfhe_${name}_${isa} PRIVATE ${ARGN})
  if(RFHE_SANITIZE) # checked at every access, these unrolled loops take a compiler minutes at -O2
    target_compile_options(rfhe_${name}_${isa} PRIVATE -O1)
    target_compile_definitions(rfhe_${name}_${isa} PRIVATE RFHE_SANITIZED)
  endif()
endfunction()
