/* pi_mpi.c - an MPI program: each rank adds up its part of an integral. Knows nothing of Mobula; for gang_mpi.c. */
#include <mpi.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    enum { STEPS = 1000000 };
    int rank, size;
    double part = 0, pi;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    for (int i = rank; i < STEPS; i += size) {
        double x = (i + 0.5) / STEPS;
        part += 4 / (1 + x * x) / STEPS;
    }
    MPI_Allreduce(&part, &pi, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    if (rank == size - 1) {
        printf("rank %d of %d: pi is %.9f\n", rank, size, pi);
    }
    MPI_Finalize();
    return 0;
}
