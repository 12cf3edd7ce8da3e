# Debian's libraries, each under a short name that DEPS of silo_module, silo_program and silo_test understand.

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

# A portable program needs nothing but libc and OpenSSL, which every system has, has at version 3, and keeps up to date.
option(SILO_PORTABLE "link the libraries statically that other systems lack or have under other names" OFF)

set(SILO_DEPS "")
# silo_dep(short_name pkg_config_module [archive]): archive is the static form, for SILO_PORTABLE.
function(silo_dep name module)
    pkg_check_modules(${name} REQUIRED QUIET IMPORTED_TARGET GLOBAL ${module})
    set(target PkgConfig::${name})
    if(SILO_PORTABLE AND ARGC GREATER 2)
        find_library(SILO_ARCHIVE_${name} NAMES ${ARGV2} HINTS ${${name}_LIBDIR} REQUIRED)
        set_target_properties(${target} PROPERTIES
            INTERFACE_LINK_LIBRARIES "${SILO_ARCHIVE_${name}};Threads::Threads;${CMAKE_DL_LIBS}")
    endif()
    set(silo_dep_${name} ${target} PARENT_SCOPE)
    set(SILO_DEPS ${SILO_DEPS} ${name} PARENT_SCOPE)
endfunction()

silo_dep(nghttp2 libnghttp2 libnghttp2.a)
silo_dep(uv libuv libuv_a.a)
silo_dep(protobuf_c libprotobuf-c libprotobuf-c.a)
silo_dep(jansson jansson libjansson.a)
silo_dep(msgpack msgpack libmsgpackc.a)
silo_dep(openssl openssl)
silo_dep(cmocka cmocka)
silo_dep(xxhash libxxhash libxxhash.a) # used header-only: XXH_INLINE_ALL

set(silo_dep_threads Threads::Threads)
list(APPEND SILO_DEPS threads)
