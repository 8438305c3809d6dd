# What is installed, and how a program finds it: find_package(mobula) with the target
# mobula::mobula, or pkg-config. To be included after all targets exist; a target that a build
# leaves out is not installed. The tree that is installed may be moved: nothing in it names a
# prefix.
include(CMakePackageConfigHelpers)

file(RELATIVE_PATH MOB_LIB_FROM_BIN
  ${CMAKE_INSTALL_FULL_BINDIR} ${CMAKE_INSTALL_FULL_LIBDIR})
file(RELATIVE_PATH MOB_PREFIX_FROM_PC
  ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" MOB_PREFIX_FROM_PC ${MOB_PREFIX_FROM_PC})
foreach(dir BIN LIB INCLUDE)
  file(RELATIVE_PATH MOB_${dir}_FROM_PREFIX
    ${CMAKE_INSTALL_PREFIX} ${CMAKE_INSTALL_FULL_${dir}DIR})
endforeach()
set(MOB_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/mobula)

if(TARGET mobula)
  # Only mob_* is visible, under a version node, so that programs of 0.1 go on running with what
  # comes later and a symbol of ours never takes the place of one of theirs.
  set(map ${PROJECT_SOURCE_DIR}/runtime/libmobula.map)
  set_target_properties(mobula PROPERTIES
    VERSION ${PROJECT_VERSION}
    SOVERSION ${PROJECT_VERSION_MAJOR}
    LINK_DEPENDS ${map})
  target_link_options(mobula PRIVATE LINKER:--version-script=${map})
  if(NOT MOB_SANITIZE)
    # A sanitizer's runtime is in the program alone, so its symbols are missing here.
    target_link_options(mobula PRIVATE LINKER:--no-undefined)
  endif()
  target_sources(mobula PUBLIC FILE_SET api TYPE HEADERS
    BASE_DIRS ${PROJECT_SOURCE_DIR}/include
    FILES ${PROJECT_SOURCE_DIR}/include/mobula.h)

  install(TARGETS mobula EXPORT mobula-targets
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
    FILE_SET api DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
  install(EXPORT mobula-targets NAMESPACE mobula:: DESTINATION ${MOB_CMAKE_DIR})

  configure_package_config_file(
    ${CMAKE_CURRENT_LIST_DIR}/mobula-config.cmake.in ${CMAKE_CURRENT_BINARY_DIR}/mobula-config.cmake
    INSTALL_DESTINATION ${MOB_CMAKE_DIR}
    NO_SET_AND_CHECK_MACRO)
  # Before 1.0 a minor version may change the API.
  write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/mobula-config-version.cmake
    COMPATIBILITY SameMinorVersion)
  install(FILES
    ${CMAKE_CURRENT_BINARY_DIR}/mobula-config.cmake
    ${CMAKE_CURRENT_BINARY_DIR}/mobula-config-version.cmake
    DESTINATION ${MOB_CMAKE_DIR})

  configure_file(${CMAKE_CURRENT_LIST_DIR}/mobula.pc.in mobula.pc @ONLY)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/mobula.pc
    DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endif()

foreach(program mobulad mobula_cli storectl square_bench square)
  if(TARGET ${program})
    set_target_properties(${program} PROPERTIES INSTALL_RPATH "$ORIGIN/${MOB_LIB_FROM_BIN}")
    install(TARGETS ${program} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  endif()
endforeach()

foreach(section RANGE 1 8)
  file(GLOB pages CONFIGURE_DEPENDS
    ${PROJECT_SOURCE_DIR}/tools/*.${section} ${PROJECT_SOURCE_DIR}/tools/*/*.${section})
  if(pages)
    install(FILES ${pages} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
  endif()
endforeach()
