# sdbx: the static library of bridge/, built by cargo, always in its release profile.
#
# Compiling the engine takes minutes, so cargo's target directory lies outside the checkout, named after what its
# contents depend on (Cargo.lock and the compiler); every checkout and build type shares it. The archive is copied
# into the build directory under a lock, since the one in the target directory belongs to whoever built last.

find_program(CARGO cargo REQUIRED)
find_program(RUSTC rustc REQUIRED)

set(bridge_dir ${PROJECT_SOURCE_DIR}/bridge)
if(NOT DEFINED SILO_CARGO_DIR AND NOT "$ENV{SILO_CARGO_DIR}" STREQUAL "")
    set(SILO_CARGO_DIR $ENV{SILO_CARGO_DIR})
endif()
if(NOT DEFINED SILO_CARGO_DIR)
    execute_process(COMMAND ${RUSTC} -vV OUTPUT_VARIABLE rustc_version COMMAND_ERROR_IS_FATAL ANY)
    file(READ ${bridge_dir}/Cargo.lock cargo_lock)
    string(SHA256 cargo_key "${cargo_lock}${rustc_version}")
    string(SUBSTRING ${cargo_key} 0 16 cargo_key)
    if(NOT "$ENV{XDG_CACHE_HOME}" STREQUAL "")
        set(cache_home $ENV{XDG_CACHE_HOME})
    else()
        set(cache_home $ENV{HOME}/.cache)
    endif()
    set(sdbx_target_dir ${cache_home}/silo/cargo-${cargo_key})
else()
    set(sdbx_target_dir ${SILO_CARGO_DIR})
endif()
file(WRITE ${CMAKE_BINARY_DIR}/cargo-dir "${sdbx_target_dir}\n") # read by ./dev test

set(sdbx_archive ${CMAKE_BINARY_DIR}/lib/libsdbx.a)
file(GLOB_RECURSE sdbx_sources CONFIGURE_DEPENDS ${bridge_dir}/src/*.rs)
add_custom_command(OUTPUT ${sdbx_archive}
    COMMAND ${PROJECT_SOURCE_DIR}/cmake/cargo_build.sh ${CARGO} ${bridge_dir}/Cargo.toml ${sdbx_target_dir} ${sdbx_archive}
    DEPENDS ${sdbx_sources} ${bridge_dir}/Cargo.toml ${bridge_dir}/Cargo.lock
    COMMENT "cargo: the storage engine (the first build takes minutes)"
    USES_TERMINAL VERBATIM)
add_custom_target(sdbx_cargo DEPENDS ${sdbx_archive})

add_library(sdbx STATIC IMPORTED GLOBAL)
set_target_properties(sdbx PROPERTIES
    IMPORTED_LOCATION ${sdbx_archive}
    INTERFACE_INCLUDE_DIRECTORIES ${bridge_dir}/include
    INTERFACE_LINK_LIBRARIES "Threads::Threads;${CMAKE_DL_LIBS};m")
add_dependencies(sdbx sdbx_cargo)
