# The build types. All of them share one set of warnings; the storage engine is always a release build.
#
#   Release  -O2 -g                       what runs
#   Debug    -Og -g3, slow checks         what is stepped through
#   Asan     address + undefined, slow checks
#   Tsan     thread, slow checks
#   Coverage counts of lines and branches (gcov)

set(SILO_BUILD_TYPES Release Debug Asan Tsan Coverage)
if(NOT CMAKE_BUILD_TYPE)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "one of ${SILO_BUILD_TYPES}" FORCE)
endif()
set_property(CACHE CMAKE_BUILD_TYPE PROPERTY STRINGS ${SILO_BUILD_TYPES})
if(NOT CMAKE_BUILD_TYPE IN_LIST SILO_BUILD_TYPES)
    message(FATAL_ERROR "CMAKE_BUILD_TYPE=${CMAKE_BUILD_TYPE} is none of: ${SILO_BUILD_TYPES}")
endif()

option(SILO_WERROR "treat warnings as errors" OFF)

set(silo_sanitized "-O1 -g -fno-omit-frame-pointer -DSILO_SLOW_CHECKS")
set(CMAKE_C_FLAGS_RELEASE "-O2 -g")
set(CMAKE_C_FLAGS_DEBUG "-Og -g3 -DSILO_SLOW_CHECKS")
set(CMAKE_C_FLAGS_ASAN "${silo_sanitized} -fsanitize=address,undefined -fno-sanitize-recover=all")
set(CMAKE_C_FLAGS_TSAN "${silo_sanitized} -fsanitize=thread")
set(CMAKE_C_FLAGS_COVERAGE "-O1 -g --coverage -fprofile-update=atomic")
set(CMAKE_EXE_LINKER_FLAGS_COVERAGE "--coverage")
set(CMAKE_EXE_LINKER_FLAGS_ASAN "-fsanitize=address,undefined")
set(CMAKE_EXE_LINKER_FLAGS_TSAN "-fsanitize=thread")

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib)
add_link_options(-Wl,--gc-sections)

# Some forty programs link the storage engine, which has 350 MB of code and symbols: lld takes a quarter of ld's time.
find_program(SILO_LLD ld.lld)
if(SILO_LLD)
    add_link_options(-fuse-ld=lld)
endif()

# For code of ours; generated code is compiled without.
add_library(silo_warnings INTERFACE)
target_compile_options(silo_warnings INTERFACE
    -Wall -Wextra -Wconversion -Wshadow -Wvla -Wswitch-enum -Wstrict-prototypes -Wmissing-prototypes
    $<$<BOOL:${SILO_WERROR}>:-Werror>)
