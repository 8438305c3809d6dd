/* proc.c - workers: started from the driver's own executable, watched, and swept when they end. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cluster.h"
#include "core/log.h"
#include "core/status.h"
#include "store/request.h"
#include "store/sweep.h"
#include "store/task.h"

enum { WRAP_WORDS_MAX = 32, WORKER_OOM_SCORE = 500 };

/* ---- starting -------------------------------------------------------------------------------------------- */

/* Whether the entry of an environment is for @name. */
static bool env_is(const char *entry, const char *name)
{
    size_t len = strlen(name);
    return strncmp(entry, name, len) == 0 && entry[len] == '=';
}

static const char *spawn_env(const struct local_spawn *s, const char *name)
{
    for (char **e = s->envp; *e; e++) {
        if (env_is(*e, name)) {
            return *e + strlen(name) + 1;
        }
    }
    return NULL;
}

/* What a worker is started with. */
struct start {
    uint32_t class;
    uint64_t gpus;
    int sock; /* its end */
    struct cores_share cores;
    struct cpus where;
};

/* In the child: says on its stderr what went wrong, where the driver will see it. */
static void child_fail(const char *what)
{
    char text[512];
    int n =
        snprintf(text, sizeof text, "mobula: a worker could not start: %s: %m\n", what);
    (void)!write(STDERR_FILENO, text, (size_t)n);
    _exit(126);
}

/* MOBULA_WORKER_WRAP='valgrind -q': runs the program under another one. */
static void exec_wrapped(struct job *j, char *wrap, char **envp)
{
    char *argv[WRAP_WORDS_MAX + 2], exe[4096], link[64];
    char *save;
    int n = 0;
    for (char *word = strtok_r(wrap, " ", &save); word && n < WRAP_WORDS_MAX;
         word = strtok_r(NULL, " ", &save)) {
        argv[n++] = word;
    }
    snprintf(link, sizeof link, "/proc/self/fd/%d", j->exe);
    ssize_t len = readlink(link, exe, sizeof exe - 1);
    if (n == 0 || len < 0) {
        child_fail("MOBULA_WORKER_WRAP");
    }
    exe[len] = '\0';
    char **all = calloc((size_t)n + 65536, sizeof *all);
    if (!all) {
        child_fail("no memory");
    }
    memcpy(all, argv, (size_t)n * sizeof *all);
    all[n++] = exe;
    for (char **a = j->spawn.argv + 1; *a; a++) {
        all[n++] = *a;
    }
    execvpe(all[0], all, envp);
    child_fail(all[0]);
}

/* What the driver's environment has, and what the worker is told: its socket, its GPUs on a node that has some, how
 * many threads numeric libraries are to have unless the user said so. It is for an exec(), and never freed. */
static char **worker_env(const struct job *j, const struct start *s)
{
    static char sock[64], devices[GPU_ENV_MAX], told[64], threads[LOCAL_THREADS_VARS][64];
    size_t count = 0, to = 0;
    while (j->spawn.envp[count]) {
        count++;
    }
    char **envp = calloc(count + LOCAL_THREADS_VARS + 4, sizeof *envp);
    if (!envp) {
        child_fail("no memory");
    }
    snprintf(sock, sizeof sock, LOCAL_WORKER_ENV "=%d", s->sock);
    envp[to++] = sock;
    bool tell = j->node->gpus.count > 0;
    if (tell) {
        envp[to++] = gpu_env(&j->node->gpus, s->gpus, devices, sizeof devices);
    }
    uint32_t set = 0, n = local_threads(j->demand[s->class].need.amount[RESOURCE_CPU]);
    for (uint32_t i = 0; i < LOCAL_THREADS_VARS; i++) {
        if (!spawn_env(&j->spawn, local_threads_vars[i])) {
            set |= 1u << i;
            snprintf(threads[i], sizeof threads[i], "%s=%u", local_threads_vars[i], n);
            envp[to++] = threads[i];
        }
    }
    snprintf(told, sizeof told, LOCAL_THREADS_ENV "=%u,%u", n, set);
    envp[to++] = told;
    for (size_t i = 0; i < count; i++) {
        if (!tell || !env_is(j->spawn.envp[i], GPU_ENV)) {
            envp[to++] = j->spawn.envp[i];
        }
    }
    return envp;
}

/* When memory runs out, the kernel should end a worker, whose task runs again, and not the node. Raising the score
 * needs no privilege. */
static void raise_oom_score(void)
{
    char score[16];
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    int n = snprintf(score, sizeof score, "%d", WORKER_OOM_SCORE);
    if (fd >= 0) {
        (void)!write(fd, score, (size_t)n);
        close(fd);
    }
}

static void child(struct job *j, const struct start *s, int out, int err, pid_t parent)
{
    signal(SIGPIPE, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    /* The node's death is its workers' death. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(0);
    }
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    dup2(null, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    fcntl(s->sock, F_SETFD, 0);
    raise_oom_score();
    pin_self(j->node, &s->where);
    if (chdir(j->spawn.cwd) < 0) {
        /* On another node the folder need not be there: then the home, as it is here. */
        const char *home = getenv("HOME");
        if (!j->guest || ((!home || chdir(home) < 0) && chdir("/") < 0)) {
            child_fail(j->spawn.cwd);
        }
    }
    char **envp = worker_env(j, s);
    const char *wrap = spawn_env(&j->spawn, "MOBULA_WORKER_WRAP");
    if (wrap && *wrap) {
        exec_wrapped(j, strdup(wrap), envp);
    }
    fexecve(j->exe, j->spawn.argv, envp);
    child_fail(j->spawn.argv[0]);
}

static struct member *free_member(struct job *j)
{
    for (uint32_t i = 2; i < PROCS_MAX; i++) { /* 0 is the daemon, 1 the driver */
        if (!j->members[i].used) {
            return &j->members[i];
        }
    }
    return NULL;
}

static void ended(struct loop_op *op, int result);

static void start_late(struct loop_timer *timer)
{
    struct member *m = LOOP_OWNER(timer, struct member, timer);
    if (m->used && !m->dead && m->slot == SLOT_STARTING) {
        m->late = true;
        kill(m->pid, SIGKILL);
    }
}

/* The process, and what tells of its end. */
static mob_status spawn(struct job *j, const struct start *s, int out, int err,
                        pid_t *ret_pid, int *ret_pidfd)
{
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        child(j, s, out, err, parent);
    }
    int pidfd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
    if (pidfd < 0) {
        mob_status st = status_fail(MOB_ERR_SYSTEM, "starting a worker: %m");
        if (pid > 0) {
            kill(pid, SIGKILL);
            waitpid(pid, NULL, 0);
        }
        return st;
    }
    *ret_pid = pid;
    *ret_pidfd = pidfd;
    return MOB_OK;
}

mob_status proc_start(struct job *j, uint32_t class, uint64_t gpus)
{
    struct node *n = j->node;
    struct member *m = free_member(j);
    int sock[2], out[2] = {-1, -1}, err[2] = {-1, -1};
    if (!m) {
        return status_fail(MOB_ERR_FULL,
                           "the job has %d processes here, the most that it may have",
                           PROCS_MAX);
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock) < 0) {
        return status_fail(MOB_ERR_SYSTEM, "socketpair: %m");
    }
    struct start s = {.class = class, .gpus = gpus, .sock = sock[1]};
    pin_prepare(j, class, &s.cores, &s.where);
    pid_t pid = -1;
    int pidfd = -1;
    mob_status st = pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0
                        ? status_fail(MOB_ERR_SYSTEM, "pipe: %m")
                        : spawn(j, &s, out[1], err[1], &pid, &pidfd);
    close(sock[1]);
    close(out[1]);
    close(err[1]);
    if (st) {
        close(sock[0]);
        close(out[0]);
        close(err[0]);
        cores_give(&n->cores, &s.cores);
        return st;
    }
    *m = (struct member){.job = j,
                         .proc = (uint32_t)(m - j->members),
                         .used = true,
                         .pid = pid,
                         .pidfd = pidfd,
                         .class = class,
                         .gpus = gpus,
                         .cores = s.cores,
                         .pinned = s.where,
                         .slot = SLOT_STARTING};
    j->members_top = m->proc >= j->members_top ? m->proc + 1 : j->members_top;
    struct proc *p = &j->board.procs[m->proc];
    at_store(&p->run, RUN_NONE, AT_RELAXED);
    at_store(&p->pid, (uint32_t)pid, AT_RELAXED);
    at_store(&p->task, LINK_NONE, AT_RELAXED);
    at_store(&p->last_fn, 0, AT_RELAXED);
    at_store(&p->state, PROC_STARTING, AT_RELEASE);
    timeline_process(j, m->proc);
    stream_open(&m->out, m, out[0], &j->out);
    stream_open(&m->err, m, err[0], &j->err);
    if (conn_open(n, sock[0], &m->conn) == MOB_OK) {
        m->conn->job = j;
        m->conn->proc = m->proc;
        m->conn->role = LOCAL_WORKER;
    }
    loop_watch(n->loop, &m->op, pidfd, POLLIN, ended);
    const char *wrap = spawn_env(&j->spawn, "MOBULA_WORKER_WRAP");
    uint64_t limit_ns = wrap && *wrap ? WORKER_WRAPPED_START_NS : WORKER_START_NS;
    loop_timer_start(n->loop, &m->timer, loop_now_ns(n->loop) + limit_ns, start_late);
    log_debug("worker started job %u pid %d", j->number, (int)pid);
    return MOB_OK;
}

void proc_run(struct member *m, uint32_t run)
{
    at_store(&m->job->board.procs[m->proc].run, run, AT_SEQ_CST);
    task_wake_process(&m->job->board, m->proc);
}

void proc_ask_back(struct member *m)
{
    if (!m->asked_back) {
        m->asked_back = true;
        proc_run(m, m->gpus ? RUN_EXIT : RUN_NONE);
    }
}

void proc_joined(struct member *m)
{
    struct job *j = m->job;
    if (!m->used || m->dead || m->slot != SLOT_STARTING) {
        return;
    }
    loop_timer_stop(j->node->loop, &m->timer);
    m->slot = SLOT_BUSY;
    j->early_kills = 0;
    j->start_why[0] = '\0';
    at_store(&j->board.procs[m->proc].state, PROC_BUSY, AT_RELAXED);
    proc_run(m, j->leaving ? RUN_EXIT : m->class + 1);
    (void)plan_node_worker_started(j->node->plan, job_plan_id(j), j->class_name[m->class],
                                   loop_now_ns(j->node->loop));
    job_refresh(j);
}

/* ---- ending --------------------------------------------------------------------------------------------------- */

static const char *how_it_ended(const struct member *m, char *buf, size_t size)
{
    if (m->late) {
        snprintf(buf, size, "it did not reach mob_init() within %llu s",
                 (unsigned long long)(WORKER_START_NS / 1000000000ull));
    } else if (m->ordered && m->signalled) {
        snprintf(buf, size, "it was ended by force, for a task that was not to go on");
    } else if (m->signalled) {
        snprintf(buf, size, "it was killed by signal %d (%s)", m->exit_status,
                 strsignal(m->exit_status));
    } else {
        snprintf(buf, size, "it exited with status %d", m->exit_status);
    }
    return buf;
}

/* The end of what it wrote to stderr, from the beginning of a line. */
static const char *last_lines(const struct member *m, int *ret_size)
{
    const char *from = m->tail, *end = m->tail + m->tail_size;
    while (end > from && (end[-1] == '\n' || end[-1] == '\0')) {
        end--;
    }
    const char *line = m->tail_cut ? memchr(from, '\n', (size_t)(end - from)) : NULL;
    from = line ? line + 1 : from;
    *ret_size = (int)(end - from);
    return from;
}

/* Says why a task failed whose worker died. */
static void reason(void *arg, struct record *r, mob_status error, uint32_t attempt)
{
    struct member *m = arg;
    struct job *j = m->job;
    char name[MOB_NAME_MAX + 1], how[128], text[FAILURE_TEXT_MAX];
    int size;
    const char *lines = last_lines(m, &size);
    board_name_text(&j->board, r->name, name);
    snprintf(text, sizeof text,
             "task %s (attempt %u, node %010llx, pid %d): its worker died: %s%s%.*s",
             name, attempt + 1, (unsigned long long)j->node->id, (int)m->pid,
             how_it_ended(m, how, sizeof how), size ? "; its last lines:\n" : "", size,
             lines);
    grant_error(j, r, error, text);
}

enum plan_slot proc_plan_slot(enum slot_state s)
{
    switch (s) {
    case SLOT_STARTING:
        return PLAN_SLOT_STARTING;
    case SLOT_BUSY:
        return PLAN_SLOT_BUSY;
    case SLOT_IDLE:
        return PLAN_SLOT_IDLE;
    case SLOT_LENT:
        return PLAN_SLOT_LENT;
    case SLOT_RESUMING:
        return PLAN_SLOT_RESUMING;
    case SLOT_BARE:
    case SLOT_NONE:
        break;
    }
    return PLAN_SLOT_NONE;
}

void proc_sweep(struct member *m)
{
    struct job *j = m->job;
    struct sweep_result res;
    grant_orphan(j, m->proc);
    sweep_process(&j->lane, m->proc, m->ordered, reason, m, &res);
    if (res.corrupt || job_queue_corrupt(j)) {
        job_fail(j, MOB_ERR_CORRUPT,
                 "the job's shared memory is corrupt; a stray write by one of its "
                 "programs is the "
                 "likely cause");
        return;
    }
    job_audit(j);
    request_remake(&j->board); /* of what it asked for, and died before it said so */
    due_look(j);
    (void)sweep_blocks(&j->lane);
    grant_count_orphans(j);
    j->requeued += res.requeued;
    j->failed_tasks += res.failed;
    timeline_note(j->node, TIMELINE_DIED, j->number, timeline_now(j->node), LINK_NONE,
                  (uint64_t)m->pid, m->proc, MOB_OK);
    guest_look_all(j); /* it may have sealed a task and died before it said so */
    guest_flush(j);
    gang_look(j, true);
    lineage_flush(j);
    char how[128];
    log_info("worker ended job %u pid %d: %s; tasks requeued %u failed %u", j->number,
             (int)m->pid, how_it_ended(m, how, sizeof how), res.requeued, res.failed);
}

/* Workers that end before they joined end the job: the next ones would do the same. */
static void failed_to_start(struct member *m)
{
    char text[FAILURE_TEXT_MAX], how[128];
    int size;
    const char *lines = last_lines(m, &size);
    snprintf(text, sizeof text,
             "the job's workers do not start: %s%s (pid %d). A worker is this program, "
             "started again with the same arguments: mob_init() must be reached.%s%.*s",
             how_it_ended(m, how, sizeof how), m->late ? "" : " before mob_init()",
             (int)m->pid, size ? " It wrote: " : "", size, lines);
    job_fail(m->job, MOB_ERR_JOB_FAILED, text);
}

/* The last thing that was in the way of using the member's place again may be gone. */
static void settle(struct member *m)
{
    struct job *j = m->job;
    if (!m->used || !m->dead || m->swept || m->err.open || m->out.open ||
        loop_op_busy(&m->op)) {
        return;
    }
    m->swept = true;
    loop_timer_stop(j->node->loop,
                    &m->timer); /* the place, or the whole job, may go now */
    struct plan_job id = job_plan_id(j);
    uint64_t now = loop_now_ns(j->node->loop);
    bool started = m->slot != SLOT_STARTING;
    if (!j->ended) {
        proc_sweep(m);
        /* Killed from outside, which says nothing of the program, it is started again, and the planner
         * hears of it as of one that had joined; unless that goes on and on. */
        bool outside = m->signalled && m->exit_status == SIGKILL && !m->late;
        if (!started && !j->leaving && !outside) {
            failed_to_start(m);
        } else if (!started && outside && ++j->early_kills <= EARLY_KILLS_MAX) {
            (void)plan_node_worker_started(j->node->plan, id, j->class_name[m->class],
                                           now);
            m->slot = SLOT_BUSY;
            started = true;
        }
    }
    enum slot_state slot = m->slot;
    gpu_give(&j->node->gpus, m->gpus, j->demand[m->class].need.amount[RESOURCE_GPU]);
    pin_give(m);
    m->slot = SLOT_NONE; /* the planner gives it nothing more: see find() in plan.c */
    if (!started) {
        (void)plan_node_worker_failed(j->node->plan, id, j->class_name[m->class], now);
    } else {
        (void)plan_node_worker_died(j->node->plan, id, j->class_name[m->class],
                                    proc_plan_slot(slot), now);
    }
    if (m->gpus) {
        plan_start_waiting(j->node);
    }
    if (!j->ended) {
        job_notices(j);
        job_refresh(j);
    }
    meet_forget(m);
    if (m->conn) {
        m->conn->job = NULL; /* it closes by itself: the other end is gone */
        conn_close(m->conn);
        m->conn = NULL;
    }
    loop_timer_stop(j->node->loop, &m->timer); /* its place is used again */
    m->used = false;
}

void proc_settle_all(struct job *j)
{
    for (uint32_t i = 2; i < PROCS_MAX; i++) {
        settle(&j->members[i]);
    }
}

/* A grandchild may hold the worker's pipes open for ever: they are not waited for longer. */
static void pipes_late(struct loop_timer *timer)
{
    struct member *m = LOOP_OWNER(timer, struct member, timer);
    stream_close(&m->out);
    stream_close(&m->err);
}

static void ended(struct loop_op *op, int result)
{
    struct member *m = LOOP_OWNER(op, struct member, op);
    if (!m->dead && result >= 0) {
        siginfo_t info = {0};
        if (waitid(P_PIDFD, (id_t)m->pidfd, &info, WEXITED | WNOHANG) < 0 ||
            info.si_pid == 0) {
            return; /* not yet */
        }
        m->dead = true;
        m->exit_status = info.si_status;
        m->signalled = info.si_code != CLD_EXITED;
        loop_timer_start(m->job->node->loop, &m->timer,
                         loop_now_ns(m->job->node->loop) + PIPES_GRACE_NS, pipes_late);
        loop_cancel(m->job->node->loop, op);
    }
    if (!loop_op_busy(op)) {
        close(m->pidfd);
        job_step(m->job);
    }
}

void proc_end_all(struct job *j, bool kill_now)
{
    for (uint32_t i = 2; i < PROCS_MAX; i++) {
        struct member *m = &j->members[i];
        if (m->used && !m->dead) {
            proc_run(m, RUN_EXIT);
            if (kill_now) {
                kill(m->pid, SIGKILL);
            }
        }
    }
}

bool proc_all_gone(const struct job *j)
{
    for (uint32_t i = 2; i < PROCS_MAX; i++) {
        if (j->members[i].used) {
            return false;
        }
    }
    return true;
}
