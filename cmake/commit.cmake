# cmake -D SOURCE=dir -D HEADER=file [-D COMMIT=text] -P commit.cmake: writes the commit of the source to a C header.
#
# Run by every build. The header is only touched when its text changes, so that nothing is compiled again without need.
# COMMIT goes before what git says: for an archive, which has no .git.

if(NOT COMMIT)
    find_program(GIT git)
    if(GIT)
        execute_process(COMMAND ${GIT} -C ${SOURCE} describe --always --dirty --abbrev=12 --exclude=*
            OUTPUT_VARIABLE COMMIT OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    endif()
endif()
if(NOT COMMIT)
    set(COMMIT unknown)
endif()
file(CONFIGURE OUTPUT ${HEADER} CONTENT "#define SILO_COMMIT \"${COMMIT}\"\n")
