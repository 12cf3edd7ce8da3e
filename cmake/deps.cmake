# Debian's libraries, each under a short name that DEPS of silo_module, silo_program and silo_test understand.

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

set(SILO_DEPS "")
# silo_dep(short_name pkg_config_module)
function(silo_dep name module)
    pkg_check_modules(${name} REQUIRED QUIET IMPORTED_TARGET GLOBAL ${module})
    set(silo_dep_${name} PkgConfig::${name} PARENT_SCOPE)
    set(SILO_DEPS ${SILO_DEPS} ${name} PARENT_SCOPE)
endfunction()

silo_dep(nghttp2 libnghttp2)
silo_dep(uv libuv)
silo_dep(protobuf_c libprotobuf-c)
silo_dep(jansson jansson)
silo_dep(msgpack msgpack)
silo_dep(openssl openssl)
silo_dep(cmocka cmocka)
silo_dep(xxhash libxxhash) # used header-only: XXH_INLINE_ALL

set(silo_dep_threads Threads::Threads)
list(APPEND SILO_DEPS threads)
