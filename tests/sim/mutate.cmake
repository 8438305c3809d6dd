# A copy of a source with one fault in it. The text must be there once, so that no mutant goes on under a name that
# means nothing any more. A script that mutants.cmake writes sets in, out, find, put.
file(READ "${in}" source)
string(FIND "${source}" "${find}" first)
string(FIND "${source}" "${find}" last REVERSE)
if(first EQUAL -1 OR NOT first EQUAL last)
  message(FATAL_ERROR "this stands not once in ${in}, so the mutant in tests/sim/mutants.cmake needs another:\n${find}")
endif()
string(REPLACE "${find}" "${put}" source "${source}")
file(WRITE "${out}" "${source}")
