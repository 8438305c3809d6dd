/* gang_mpi.c - runs an MPI program, built with MPICH, in a gang: a rank in each member's slot.
 *
 *   gang_mpi RANKS PROGRAM [ARGUMENT...]
 *
 * mpiexec, of rank 0, is told to start nothing itself (-launcher manual): it prints the command of the process
 * manager's part that each node is to run, and the members run those. If one fails, all end. */
#include <mobula.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORDS = MOB_ARGS_MAX - 1, COMMAND = 1000 };

static const char launch[] = "HYDRA_LAUNCH: ";

/* Starts a program that does not outlive its worker; what it prints goes into @out, if that is not -1. */
static pid_t start(char *const *argv, int out)
{
    pid_t worker = getpid(), pid = fork();
    if (pid == 0) {
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != worker ||
            (out >= 0 && dup2(out, STDOUT_FILENO) < 0)) {
            _exit(127);
        }
        execvp(argv[0], argv);
        perror(argv[0]);
        _exit(127);
    }
    return pid;
}

static bool ends_well(pid_t pid)
{
    int status;
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

/* mpiexec for a rank in each member. NULL: it cannot be started; else what it prints. */
static FILE *start_mpiexec(struct mob_task *task, const char *names, pid_t *ret)
{
    char ranks[16], *argv[WORDS + 16];
    int n = 0, out[2];
    snprintf(ranks, sizeof ranks, "%u", mob_gang_size(task));
    const char *first[] = {"mpiexec.mpich",
                           "-launcher",
                           "manual",
                           "-localhost",
                           mob_gang_host(task),
                           "-hosts",
                           names,
                           "-ppn",
                           "1",
                           "-n",
                           ranks};
    for (size_t i = 0; i < sizeof first / sizeof first[0]; i++) {
        argv[n++] = (char *)first[i];
    }
    for (size_t i = 0; i < mob_arg_count(task); i++) {
        const void *word;
        size_t size;
        if (mob_arg(task, i, &word, &size)) {
            return NULL;
        }
        argv[n++] = strdup(word); /* what is the store's is not there in a child */
    }
    argv[n] = NULL;
    if (pipe(out) < 0) {
        return NULL;
    }
    *ret = start(argv, out[1]);
    close(out[1]);
    return fdopen(out[0], "r");
}

/* The command that mpiexec has for this gang's members, but for the number at its end, which is the rank. */
static bool read_command(FILE *from, char *command)
{
    char line[COMMAND + sizeof launch];
    while (from && fgets(line, sizeof line, from)) {
        if (strncmp(line, launch, sizeof launch - 1) == 0) {
            char *end = strstr(line, "--proxy-id ");
            if (end) {
                end[strlen("--proxy-id ")] = '\0';
                snprintf(command, COMMAND, "%s", line + sizeof launch - 1);
            }
        } else if (strncmp(line, "HYDRA_LAUNCH_END", 16) == 0) {
            return *command;
        }
    }
    return false;
}

static mob_status rank(struct mob_task *task)
{
    char names[MOB_GANG_MAX * 8] = "", command[COMMAND] = "";
    char commands[MOB_GANG_MAX][COMMAND], line[COMMAND + 32];
    FILE *out = NULL;
    pid_t mpiexec = -1;
    if (mob_gang_rank(task) == 0) {
        /* Each slot is a machine to MPI, of any name, which is never looked up: two may be on one node. */
        for (unsigned i = 0; i < mob_gang_size(task); i++) {
            size_t used = strlen(names);
            snprintf(names + used, sizeof names - used, "%sslot%u", i ? "," : "", i);
        }
        out = start_mpiexec(task, names, &mpiexec);
        if (!read_command(out, command)) {
            return mob_fail(
                task, "mpiexec.mpich did not say what to start: is MPICH installed?");
        }
    }
    MOB_TRY(mob_gang_exchange(task, command, sizeof command, commands, MOB_FOREVER));
    snprintf(line, sizeof line, "exec %s%u", commands[0], mob_gang_rank(task));
    pid_t proxy = start((char *[]){"sh", "-c", line, NULL}, -1);
    while (out && fgets(line, sizeof line, out)) { /* what the ranks print */
        fputs(line, stdout);
    }
    bool well = ends_well(proxy);
    if (out) {
        well = ends_well(mpiexec) && well;
        fclose(out);
    }
    return well ? MOB_OK : mob_fail(task, "the MPI program failed");
}
MOB_REGISTER(rank);

int main(int argc, char **argv)
{
    struct mob *mob;
    struct mob_arg words[WORDS];
    mob_ref ranks[MOB_GANG_MAX];
    MOB_CHECK(mob_init(NULL, &mob));
    long n = argc > 1 ? strtol(argv[1], NULL, 10) : 0;
    if (n < 1 || n > MOB_GANG_MAX || argc < 3 || argc - 2 > WORDS) {
        fprintf(stderr, "usage: gang_mpi RANKS PROGRAM [ARGUMENT...]\n");
        return 2;
    }
    for (int i = 2; i < argc; i++) {
        words[i - 2] = MOB_BYTES(argv[i], strlen(argv[i]) + 1);
    }
    MOB_CHECK(mob_submit_gang(mob, rank, (struct mob_args){(size_t)argc - 2, words}, NULL,
                              (size_t)n, ranks));
    for (long i = 0; i < n; i++) {
        size_t size;
        MOB_CHECK(mob_get_size(mob, ranks[i], MOB_FOREVER, &size));
        mob_release(mob, ranks[i]);
    }
    mob_shutdown(mob);
}
