/* MPI: each rank has a part of the points of every graph, and sends words point to point to the ranks
 * that read them, without blocking. A rank goes on with a graph when that graph's inputs are there, so
 * that messages of one graph travel while others run. */
#include "runner.h"

#include <mpi.h>

static int rank, ranks;

/* What of a graph travels in a step of the period, with whom: worked out beforehand. */
struct message {
    uint32_t point;
    int peer;
};
struct plan {
    uint32_t in_count, out_count;
    struct message *in,
        *out; /* words read by this step here; words of the step before, read elsewhere */
};
static struct plan *plans;            /* [period] */
static MPI_Request *sends, *receives; /* [graph][...] */
static uint32_t *send_counts;
static uint32_t most_in, most_out;
static uint64_t *words[2]; /* [graph x width], by step */

static uint32_t first_of(uint32_t width, int r)
{
    return (uint32_t)((uint64_t)r * width / (uint64_t)ranks);
}

static int owner(uint32_t width, uint32_t point)
{
    int r = 0;
    while (first_of(width, r + 1) <= point) {
        r++;
    }
    return r;
}

void runner_start(int *argc, char ***argv)
{
    MPI_Init(argc, argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
}

static void note(struct message *list, uint32_t *count, uint32_t point, int peer)
{
    for (uint32_t k = 0; k < *count; k++) {
        if (list[k].point == point && list[k].peer == peer) {
            return;
        }
    }
    list[(*count)++] = (struct message){point, peer};
}

static void make_plan(const struct graph *g, uint32_t step, struct plan *p)
{
    p->in = runner_alloc((size_t)g->width * INPUTS_MAX, sizeof *p->in);
    p->out = runner_alloc((size_t)g->width * INPUTS_MAX, sizeof *p->out);
    for (uint32_t i = 0; i < g->width; i++) {
        const struct inputs *in = &g->table[step * g->width + i];
        for (uint32_t k = 0; k < in->count; k++) {
            int from = owner(g->width, in->point[k]), to = owner(g->width, i);
            if (from != to && to == rank) {
                note(p->in, &p->in_count, in->point[k], from);
            } else if (from != to && from == rank) {
                note(p->out, &p->out_count, in->point[k], to);
            }
        }
    }
    most_in = p->in_count > most_in ? p->in_count : most_in;
    most_out = p->out_count > most_out ? p->out_count : most_out;
}

void runner_open(const struct runner_options *options, const struct graph *g)
{
    uint32_t graphs = options->shape.graphs;
    size_t points = (size_t)graphs * g->width;
    if ((uint32_t)ranks != options->cpus) {
        runner_fail("start", "as many ranks as CPUs are needed");
    }
    plans = runner_alloc(g->period, sizeof *plans);
    for (uint32_t step = 0; step < g->period; step++) {
        make_plan(g, step, &plans[step]);
    }
    sends = runner_alloc((size_t)graphs * (most_out + 1), sizeof(MPI_Request));
    receives = runner_alloc(most_in + 1, sizeof(MPI_Request));
    send_counts = runner_alloc(graphs, sizeof *send_counts);
    words[0] = runner_alloc(points, sizeof *words[0]);
    words[1] = runner_alloc(points, sizeof *words[1]);
}

static void receive_inputs(const struct graph *g, uint32_t graph, uint32_t t)
{
    const struct plan *p = &plans[t % g->period];
    uint64_t *from = words[(t + 1) % 2] + (size_t)graph * g->width;
    for (uint32_t k = 0; k < p->in_count; k++) {
        MPI_Irecv(&from[p->in[k].point], 1, MPI_UINT64_T, p->in[k].peer,
                  (int)(graph * g->width + p->in[k].point), MPI_COMM_WORLD, &receives[k]);
    }
    MPI_Waitall((int)p->in_count, receives, MPI_STATUSES_IGNORE);
}

/* Words of step @t, which were written just now, to the readers of step @t + 1. The sends of the step
 * before have to end first: their words' places are written next. */
static void send_outputs(const struct graph *g, uint32_t graph, uint32_t t)
{
    const struct plan *p = &plans[(t + 1) % g->period];
    const uint64_t *from = words[t % 2] + (size_t)graph * g->width;
    MPI_Request *requests = &sends[(size_t)graph * (most_out + 1)];
    MPI_Waitall((int)send_counts[graph], requests, MPI_STATUSES_IGNORE);
    for (uint32_t k = 0; k < p->out_count; k++) {
        MPI_Isend(&from[p->out[k].point], 1, MPI_UINT64_T, p->out[k].peer,
                  (int)(graph * g->width + p->out[k].point), MPI_COMM_WORLD,
                  &requests[k]);
    }
    send_counts[graph] = p->out_count;
}

static void run_points(const struct shape *s, const struct graph *g, uint32_t graph,
                       uint32_t t)
{
    const uint64_t *from = words[(t + 1) % 2] + (size_t)graph * s->width;
    uint64_t *to = words[t % 2] + (size_t)graph * s->width;
    for (uint32_t i = first_of(s->width, rank); i < first_of(s->width, rank + 1); i++) {
        const struct inputs *inputs = graph_inputs(g, t, i);
        uint64_t in[INPUTS_MAX];
        for (uint32_t k = 0; k < inputs->count; k++) {
            in[k] = from[inputs->point[k]];
        }
        to[i] =
            task_body(g, graph, t, i, shape_rounds(s, graph, t, i), in, inputs->count);
        runner_want_word(to[i]);
    }
}

uint64_t runner_run(const struct shape *s, const struct graph *g)
{
    MPI_Barrier(MPI_COMM_WORLD);
    uint64_t start = runner_now_ns(), ns, most;
    for (uint32_t t = 0; t < s->steps; t++) {
        for (uint32_t graph = 0; graph < s->graphs; graph++) {
            if (t > 0) {
                receive_inputs(g, graph, t);
            }
            run_points(s, g, graph, t);
            if (t + 1 < s->steps) {
                send_outputs(g, graph, t);
            }
        }
    }
    for (uint32_t graph = 0; graph < s->graphs; graph++) {
        MPI_Waitall((int)send_counts[graph], &sends[(size_t)graph * (most_out + 1)],
                    MPI_STATUSES_IGNORE);
        send_counts[graph] = 0;
    }
    MPI_Barrier(MPI_COMM_WORLD);
    ns = runner_now_ns() - start;
    MPI_Allreduce(&ns, &most, 1, MPI_UINT64_T, MPI_MAX, MPI_COMM_WORLD);
    return most;
}

void runner_close(void)
{
    MPI_Finalize();
}

int runner_prints(void)
{
    return rank == 0;
}
