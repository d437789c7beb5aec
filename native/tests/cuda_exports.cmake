# cmake -DNM=... -DLIBRARY=... -P cuda_exports.cmake: one symbol is all that the library shows to others.
execute_process(COMMAND ${NM} -D --defined-only ${LIBRARY} OUTPUT_VARIABLE listing COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "[^ \n]+\n" symbols "${listing}")
string(STRIP "${symbols}" symbols)
if(NOT symbols STREQUAL "bc_backend_table")
  message(FATAL_ERROR "${LIBRARY} should export bc_backend_table alone, and exports:\n${listing}")
endif()
