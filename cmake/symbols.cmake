# cmake -D NM=nm -D PROGRAM=file -D PRESENT=regex -D ABSENT=regex -P symbols.cmake: fails unless the program defines a
# function that matches PRESENT, which shows that its symbols are there to be read, and none that matches ABSENT.

execute_process(COMMAND ${NM} --defined-only ${PROGRAM} COMMAND grep -E " [Tt] (${PRESENT}|${ABSENT})$"
    OUTPUT_VARIABLE symbols)
if(NOT symbols MATCHES " T (${PRESENT})\n")
    message(FATAL_ERROR "${PROGRAM} defines no ${PRESENT}")
endif()
if(symbols MATCHES " [Tt] (${ABSENT})\n")
    message(FATAL_ERROR "${PROGRAM} defines ${CMAKE_MATCH_1}")
endif()
message("[  PASSED  ] 1 test(s).") # as a test of cmocka says it
