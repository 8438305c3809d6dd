/* pin.c - a worker's threads run on the CPUs of its slot.
 *
 * Told to the kernel when a slot changes hands, never for a task. A worker whose slot is lent sleeps where it was, and
 * mostly finds the same CPUs free when it goes on: then no system call is made. Threads that a task makes are where
 * the one is that made them. */
#include <dirent.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "node.h"

enum { PASSES_MAX = 4 }; /* over the threads of a worker that makes new ones meanwhile */

/* Tells all threads once. Returns how many ran elsewhere until now. */
static uint32_t tell_threads(pid_t pid, const struct cpus *where)
{
    char path[64];
    uint32_t told = 0;
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *dir = opendir(path);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        pid_t thread = (pid_t)strtol(e->d_name, NULL, 10);
        struct cpus now = {0};
        if (thread > 0 && sched_getaffinity(thread, sizeof now, (cpu_set_t *)&now) >= 0 &&
            !cpus_equal(&now, where)) {
            (void)sched_setaffinity(thread, sizeof *where, (const cpu_set_t *)where);
            told++;
        }
    }
    if (dir) {
        closedir(dir);
    }
    return told;
}

/* A thread that is made by one that was not told yet is where that one was: looked for until there are none. The
 * worker is a child that was not waited for, so its pid is nobody else's. */
static void tell(struct member *m, const struct cpus *where)
{
    if (m->dead || cpus_equal(&m->pinned, where)) {
        return;
    }
    for (int pass = 0; pass < PASSES_MAX && tell_threads(m->pid, where); pass++) {
    }
    m->pinned = *where;
}

static const struct cpus *place(const struct node *n, const struct cores_share *s)
{
    return s->held ? &s->cpus : &n->cores.all;
}

static uint64_t cpus_of_class(const struct job *j, uint32_t class)
{
    return j->demand[class].need.amount[RESOURCE_CPU];
}

void pin_take(struct member *m)
{
    struct cores *c = &m->job->node->cores;
    if (c->count) {
        (void)cores_take(c, cpus_of_class(m->job, m->class), &m->cores);
        tell(m, place(m->job->node, &m->cores));
    }
}

void pin_give(struct member *m)
{
    cores_give(&m->job->node->cores, &m->cores);
}

void pin_loose(struct member *m)
{
    struct cores *c = &m->job->node->cores;
    if (c->count && !m->cores.held) {
        tell(m, &c->all);
    }
}

void pin_prepare(const struct job *j, uint32_t class, struct cores_share *ret,
                 struct cpus *ret_where)
{
    struct cores *c = &j->node->cores;
    *ret = (struct cores_share){0};
    if (c->count) {
        (void)cores_take(c, cpus_of_class(j, class), ret);
        *ret_where = *place(j->node, ret);
    }
}

void pin_self(const struct node *n, const struct cpus *where)
{
    if (n->cores.count) {
        (void)sched_setaffinity(0, sizeof *where, (const cpu_set_t *)where);
    }
}
