#!/bin/sh
# test_gang_mpi.sh BIN - an MPI program in a gang, and one that fails.
set -u
bin=$1
if ! [ -x "$bin/pi_mpi" ] || ! command -v mpiexec.mpich >/dev/null; then
    echo "there is no MPICH here: install mpich and libmpich-dev"
    exit 77
fi
out=$("$bin/gang_mpi" 2 "$bin/pi_mpi" 2>&1) || { echo "FAILED: $out"; exit 1; }
case $out in
*'rank 1 of 2: pi is 3.141592654'*) ;;
*) echo "FAILED: it says: $out" && exit 1 ;;
esac
out=$("$bin/gang_mpi" 2 false 2>&1) && { echo "FAILED: a program that fails does not: $out"; exit 1; }
case $out in
*'the MPI program failed'*) ;;
*) echo "FAILED: of a program that fails it says: $out" && exit 1 ;;
esac
