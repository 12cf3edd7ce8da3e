# silo_proto: the messages of proto/ as protobuf-c code, and the descriptors of all services for reflection.
#
#   silo.pb-c.h                      proto/silo/v1/silo.proto, each proto3 `optional` as a oneof of one member
#                                    (same bytes), since Debian's protoc-c refuses the keyword
#   grpc/<dir>/<file>.pb-c.h         proto/grpc/<dir>/<file>.proto
#   gubernator.pb-c.h                proto/gubernator/gubernator.proto: what we call and do not serve, so it is in no
#                                    descriptor set
#   etcd.pb-c.h                      proto/etcd/etcd.proto: likewise
#   silo_descriptor.h                silo_descriptor_set[], silo_descriptor_set_len: a serialized FileDescriptorSet
#                                    made by protoc from the files as they are; ours is named silo.proto in it

set(proto_dir ${PROJECT_SOURCE_DIR}/proto)
set(proto_gen ${CMAKE_BINARY_DIR}/gen)
set(proto_derive ${PROJECT_SOURCE_DIR}/tools/proto/derive_proto.py)

find_program(PROTOC protoc REQUIRED)
find_program(PROTOC_C protoc-c REQUIRED)
find_package(Python3 REQUIRED COMPONENTS Interpreter)

# One file: derive, then protoc-c. source is absolute, name is what the C header is called without .pb-c.h.
function(silo_proto_file source name ret_c)
    set(derived ${proto_gen}/derived/${name}.proto)
    set(out ${proto_gen}/c/${name}.pb-c)
    get_filename_component(derived_dir ${derived} DIRECTORY)
    file(MAKE_DIRECTORY ${derived_dir} ${proto_gen}/c)
    add_custom_command(OUTPUT ${derived}
        COMMAND Python3::Interpreter ${proto_derive} ${source} ${derived}
        DEPENDS ${source} ${proto_derive}
        COMMENT "proto: deriving ${name}.proto" VERBATIM)
    add_custom_command(OUTPUT ${out}.c ${out}.h
        COMMAND ${PROTOC_C} -I ${proto_gen}/derived --c_out=${proto_gen}/c ${derived}
        DEPENDS ${derived}
        COMMENT "proto: protoc-c ${name}.proto" VERBATIM)
    set(${ret_c} ${out}.c PARENT_SCOPE)
endfunction()

file(GLOB_RECURSE proto_grpc CONFIGURE_DEPENDS RELATIVE ${proto_dir} ${proto_dir}/grpc/*.proto)
silo_proto_file(${proto_dir}/silo/v1/silo.proto silo proto_c)
set(proto_sources ${proto_c})
set(proto_files ${proto_dir}/silo/v1/silo.proto)
foreach(file IN LISTS proto_grpc)
    string(REGEX REPLACE "\\.proto$" "" name ${file})
    silo_proto_file(${proto_dir}/${file} ${name} proto_c)
    list(APPEND proto_sources ${proto_c})
    list(APPEND proto_files ${proto_dir}/${file})
endforeach()
silo_proto_file(${proto_dir}/gubernator/gubernator.proto gubernator proto_c)
list(APPEND proto_sources ${proto_c})
silo_proto_file(${proto_dir}/etcd/etcd.proto etcd proto_c)
list(APPEND proto_sources ${proto_c})

add_custom_command(OUTPUT ${proto_gen}/descriptor.bin
    COMMAND ${PROTOC} -I ${proto_dir}/silo/v1 -I ${proto_dir} --include_imports
            --descriptor_set_out=${proto_gen}/descriptor.bin silo.proto ${proto_grpc}
    DEPENDS ${proto_files}
    WORKING_DIRECTORY ${proto_gen}
    COMMENT "proto: descriptor set" VERBATIM)
add_custom_command(OUTPUT ${proto_gen}/c/silo_descriptor.c ${proto_gen}/c/silo_descriptor.h
    COMMAND Python3::Interpreter ${PROJECT_SOURCE_DIR}/cmake/embed.py silo_descriptor_set
            ${proto_gen}/descriptor.bin ${proto_gen}/c/silo_descriptor
    DEPENDS ${proto_gen}/descriptor.bin ${PROJECT_SOURCE_DIR}/cmake/embed.py
    COMMENT "proto: embedding the descriptor set" VERBATIM)

add_library(silo_proto STATIC ${proto_sources} ${proto_gen}/c/silo_descriptor.c)
# Generated headers: as system headers, they are not held to our warnings.
target_include_directories(silo_proto SYSTEM PUBLIC ${proto_gen}/c)
target_link_libraries(silo_proto PUBLIC ${silo_dep_protobuf_c})
