# How code of ours becomes libraries, programs and tests. All three take
#   DEPS  modules by bare name (base, codec, ...), libraries of deps.cmake (nghttp2, jansson, ...),
#         silo_proto, sdbx, or any other CMake target

set(SILO_MODULES base codec metrics config rpc store store_slate store_mem core shard limiter directory cluster coord node query gather peers service server)

# Bare names to targets. A module may be named before its directory was read.
function(silo_resolve ret_targets)
    set(targets "")
    foreach(dep IN LISTS ARGN)
        if(dep IN_LIST SILO_MODULES)
            list(APPEND targets silo_${dep})
        elseif(dep IN_LIST SILO_DEPS)
            list(APPEND targets ${silo_dep_${dep}})
        else()
            list(APPEND targets ${dep})
        endif()
    endforeach()
    set(${ret_targets} ${targets} PARENT_SCOPE)
endfunction()

# silo_module(name [DEPS ...] [SOURCES file.c ... | EXCLUDE file.c ...])
# Static library silo_<name> of what SOURCES names, or of every *.c here except *_test.c and what EXCLUDE names.
function(silo_module name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "DEPS;SOURCES;EXCLUDE")
    if(arg_SOURCES)
        set(sources ${arg_SOURCES})
    else()
        file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.c)
        list(FILTER sources EXCLUDE REGEX "_test\\.c$")
    endif()
    foreach(file IN LISTS arg_EXCLUDE)
        list(REMOVE_ITEM sources ${CMAKE_CURRENT_SOURCE_DIR}/${file})
    endforeach()
    add_library(silo_${name} STATIC ${sources})
    target_include_directories(silo_${name} PUBLIC ${PROJECT_SOURCE_DIR}/src)
    target_compile_definitions(silo_${name} PUBLIC _GNU_SOURCE=)
    silo_resolve(targets ${arg_DEPS})
    target_link_libraries(silo_${name} PUBLIC ${targets} PRIVATE silo_warnings)
endfunction()

# silo_program(name SOURCES f.c ... [DEPS ...])
# Program build/bin/<name>.
function(silo_program name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;DEPS")
    add_executable(${name} ${arg_SOURCES})
    target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/src)
    target_compile_definitions(${name} PRIVATE _GNU_SOURCE=)
    silo_resolve(targets ${arg_DEPS})
    target_link_libraries(${name} PRIVATE ${targets} silo_warnings)
endfunction()

# silo_test(name SOURCES f_test.c ... [DEPS ...] [TIMEOUT seconds] [ONE_THREAD])
# cmocka program build/tests/<name>, and a ctest entry of the same name with the label "unit". It may read
# SILO_SOURCE_DIR and SILO_TEST_DIR (a directory of its own, made before it runs) from its environment.
#
# ONE_THREAD: neither the test nor what it links starts a thread, so the thread sanitizer has nothing to look at: no such
# program in its build, where it would take many times as long.
function(silo_test name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "ONE_THREAD" "TIMEOUT" "SOURCES;DEPS")
    if(arg_ONE_THREAD AND CMAKE_BUILD_TYPE STREQUAL "Tsan")
        return()
    endif()
    silo_program(${name} SOURCES ${arg_SOURCES} DEPS ${arg_DEPS} cmocka)
    set(dir ${CMAKE_BINARY_DIR}/tests/${name}.dir)
    file(MAKE_DIRECTORY ${dir})
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
    add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY ${dir})
    if(NOT arg_TIMEOUT)
        set(arg_TIMEOUT 120)
    endif()
    set_tests_properties(${name} PROPERTIES LABELS unit TIMEOUT ${arg_TIMEOUT}
        ENVIRONMENT "SILO_SOURCE_DIR=${PROJECT_SOURCE_DIR};SILO_TEST_DIR=${dir};SILO_BIN_DIR=${CMAKE_BINARY_DIR}/bin")
endfunction()

# silo_module_tests(module [DEPS ...] [ONE_THREAD ALL | file ...])
# One silo_test <module>_<file> for each <file>_test.c here, linked with the module. ONE_THREAD: those that are.
function(silo_module_tests module)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "DEPS;ONE_THREAD")
    file(GLOB files CONFIGURE_DEPENDS RELATIVE ${CMAKE_CURRENT_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR}/*_test.c)
    foreach(file IN LISTS files)
        string(REGEX REPLACE "\\.c$" "" name ${file})
        string(REGEX REPLACE "_test$" "" short ${name})
        set(one_thread "")
        if(arg_ONE_THREAD STREQUAL "ALL" OR short IN_LIST arg_ONE_THREAD)
            set(one_thread ONE_THREAD)
        endif()
        silo_test(${module}_${name} SOURCES ${file} DEPS ${module} ${arg_DEPS} ${one_thread})
    endforeach()
endfunction()

# silo_limited_sources(ret DIRS dir ... LIMITS NAME=value ...)
# The sources in these directories that mention one of the limits: all that has to be compiled anew where the limits are
# smaller than base/limits.h says. The rest comes from the modules' archives, which the linker asks only for what the
# program's own objects lack. No header uses such a limit but in comments, so no other file can depend on one; tools/lint
# checks that.
function(silo_limited_sources ret)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "DIRS;LIMITS")
    list(TRANSFORM arg_LIMITS REPLACE "=.*" "")
    list(JOIN arg_LIMITS "|" names)
    set(found "")
    foreach(dir IN LISTS arg_DIRS)
        file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${dir}/*.c)
        list(FILTER sources EXCLUDE REGEX "_test\\.c$")
        foreach(source IN LISTS sources)
            file(STRINGS ${source} lines REGEX "(^|[^A-Z_])(${names})([^A-Z_]|$)")
            if(lines)
                list(APPEND found ${source})
            else() # until it mentions one
                set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${source})
            endif()
        endforeach()
    endforeach()
    set(${ret} ${found} PARENT_SCOPE)
endfunction()

# silo_test_symbols(name PROGRAM target PRESENT regex [ABSENT regex])
# A ctest entry: the program defines symbols like these, and none like those.
function(silo_test_symbols name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "PROGRAM;PRESENT;ABSENT" "")
    if(NOT TARGET ${arg_PROGRAM})
        return()
    endif()
    add_test(NAME ${name} COMMAND ${CMAKE_COMMAND} -D NM=${CMAKE_NM} -D PROGRAM=$<TARGET_FILE:${arg_PROGRAM}>
        -D PRESENT=${arg_PRESENT} -D ABSENT=${arg_ABSENT} -P ${PROJECT_SOURCE_DIR}/cmake/symbols.cmake)
    set_tests_properties(${name} PROPERTIES LABELS unit)
endfunction()
