# A copy of a source with one fault in it. If its text is not there once, since the scheduler has changed, the copy has
# no fault: it builds, and the test finds that this mutant lives on. A script that mutants.cmake writes sets in, out,
# find, put.
file(READ "${in}" source)
string(FIND "${source}" "${find}" first)
string(FIND "${source}" "${find}" last REVERSE)
if(first EQUAL -1 OR NOT first EQUAL last)
  message(WARNING "this stands not once in ${in}, so the mutant in tests/sim/mutants.cmake needs another:\n${find}")
endif()
string(REPLACE "${find}" "${put}" source "${source}")
file(WRITE "${out}" "${source}")
