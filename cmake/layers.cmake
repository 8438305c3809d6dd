# The layers and what may see what.
#
# A layer is an object library that exposes only its own include/ folder. store, transport
# and scheduler see core; runtime sees all. An #include upward or sideways does not compile,
# because no include path leads there.

add_library(mob_flags INTERFACE)
target_compile_definitions(mob_flags INTERFACE _GNU_SOURCE)
target_compile_options(mob_flags INTERFACE
  -Wall -Wextra -Werror -Wshadow -Wvla -Wundef
  $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith>
  -fno-strict-aliasing)
target_include_directories(mob_flags INTERFACE ${PROJECT_SOURCE_DIR}/include)
if(MOB_SANITIZE)
  target_compile_options(mob_flags INTERFACE
    -fsanitize=${MOB_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(mob_flags INTERFACE -fsanitize=${MOB_SANITIZE})
endif()

# The task path crosses several files of store and client, so optimised builds optimise across them.
# Only where the compiler's own tools do it without more packages.
set(MOB_LTO OFF)
if(CMAKE_BUILD_TYPE MATCHES "Rel" AND NOT MOB_SANITIZE AND CMAKE_C_COMPILER_ID STREQUAL "GNU")
  set(MOB_LTO ON)
endif()

# mob_layer(NAME [SEES layer...] [LINKS target...] SOURCES file...)
function(mob_layer name)
  cmake_parse_arguments(L "" "" "SEES;LINKS;SOURCES" ${ARGN})
  add_library(mob_${name} OBJECT ${L_SOURCES})
  target_include_directories(mob_${name}
    PUBLIC ${CMAKE_CURRENT_SOURCE_DIR}/include
    PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
  target_link_libraries(mob_${name} PUBLIC mob_flags ${L_LINKS})
  foreach(lower IN LISTS L_SEES)
    target_include_directories(mob_${name} PUBLIC ${PROJECT_SOURCE_DIR}/${lower}/include)
  endforeach()
endfunction()

# mob_objects(TARGET layer...): links the object code of layers, and what they need, into a target.
function(mob_objects target)
  foreach(layer IN LISTS ARGN)
    target_link_libraries(${target} PRIVATE mob_${layer})
  endforeach()
endfunction()
