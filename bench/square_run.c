/* The measuring: rounds of tasks and rounds of a floor in turn, A B A B. */
#include "square_bench.h"

#include <stdio.h>
#include <stdlib.h>

#include "common.h"

#define GET_LIMIT_NS                                                                     \
    ((uint64_t)60 * 1000000000u)    /* a lost task ends the run with a message */
#define IDLE_NS ((uint64_t)2000000) /* no worker spins so long: it has parked by then */
#define SETTLE_NS                                                                        \
    ((uint64_t)1000000)    /* before a floor's round, so that it has the CPUs */
#define WARM_UP_TASKS 2000 /* first uses: page faults, caches, the worker's start */

/* Tasks in a round. A round of the awake trip is short, so that some fall between the
 * neighbours' doings; a round in flight is long against its start and end. */
#define AWAKE_TASKS 500
#define PARKED_TASKS 6
#define RATE_TASKS 50000
#define QUEUE_ITEMS 200000 /* of the floor, in a round */
#define LINE_WARM_UP 50    /* trips of a floor before its round counts */

/* ---- the task
 * ------------------------------------------------------------------------------ */

/* Squares every number of its argument in the place where its result is read. */
static mob_status square(struct mob_task *task)
{
    const void *data;
    void *place;
    size_t size;
    MOB_TRY(mob_arg(task, 0, &data, &size));
    MOB_TRY(mob_return_place(task, 0, size, &place));
    const double *from = data;
    double *to = place;
    for (size_t i = 0; i < size / sizeof *from; i++) {
        to[i] = from[i] * from[i];
    }
    return MOB_OK;
}
MOB_REGISTER(square);

/* The same, after it has kept the CPU busy for as long as argument 1 says. */
static mob_status square_work(struct mob_task *task)
{
    uint64_t start = floor_now_ns(), work_ns;
    MOB_TRY(mob_arg_copy(task, 1, &work_ns, sizeof work_ns));
    while (floor_now_ns() - start < work_ns) {
    }
    return square(task);
}
MOB_REGISTER(square_work);

/* ---- one task
 * ------------------------------------------------------------------------------ */

struct bench {
    const struct options *options;
    struct mob *mob;
    double *input; /* number 0 differs from task to task, number i is i */
    mob_ref *refs; /* in flight */
    uint64_t task; /* the next one's number */
};

__attribute__((cold, noreturn)) static void wrong(double x, double y)
{
    fprintf(stderr,
            "square_bench: wrong result: the square of %.17g came back as %.17g\n", x, y);
    exit(1);
}

static void submit(struct bench *b, mob_ref *ret)
{
    double x = (double)b->task++; /* exact, and so is its square below 2^26 tasks */
    b->input[0] = x;
    if (b->options->work_ns == 0) {
        MOB_CHECK(mob_submit(b->mob, square,
                             MOB_ARGS(MOB_BYTES(b->input, b->options->payload)), NULL,
                             ret));
    } else {
        MOB_CHECK(mob_submit(b->mob, square_work,
                             MOB_ARGS(MOB_BYTES(b->input, b->options->payload),
                                      MOB_VALUE(b->options->work_ns)),
                             NULL, ret));
    }
}

/* Gets the result of task number @number and checks it: the first number, which is new in
 * every task, and the last, which is written last. */
static void collect(struct bench *b, uint64_t number, mob_ref ref)
{
    double x = (double)number, y;
    size_t payload = b->options->payload;
    if (payload == sizeof y) {
        MOB_CHECK(mob_get_copy(b->mob, ref, &y, sizeof y, GET_LIMIT_NS));
    } else {
        struct mob_view view;
        MOB_CHECK(mob_get(b->mob, ref, GET_LIMIT_NS, &view));
        size_t last = payload / sizeof y - 1;
        const double *numbers = view.data;
        if (view.size != payload || numbers[last] != (double)last * (double)last) {
            wrong((double)last, view.size == payload ? numbers[last] : 0);
        }
        y = numbers[0];
        mob_view_release(b->mob, &view);
    }
    if (y != x * x) {
        wrong(x, y);
    }
    mob_release(b->mob, ref);
}

static void trip(struct bench *b)
{
    mob_ref ref;
    uint64_t number = b->task;
    submit(b, &ref);
    collect(b, number, ref);
}

/* ---- rounds
 * -------------------------------------------------------------------------------- */

/* More rounds are wanted: too few yet, or time is left. */
static int another(uint64_t rounds, uint64_t rounds_min, uint64_t deadline_ns)
{
    return rounds < rounds_min || (rounds < ROUNDS_MAX && floor_now_ns() < deadline_ns);
}

/* The awake half: first as many trips as the round has under two looks at the clock, for
 * the mean, then as many with a look around each, for the percentiles. */
static void round_awake(struct bench *b, uint64_t tasks, struct latency *ret)
{
    for (int i = 0; i < LINE_WARM_UP; i++) {
        trip(b);
    }
    uint64_t start = floor_now_ns();
    for (uint64_t i = 0; i < tasks; i++) {
        trip(b);
    }
    bench_keep_best((double)(floor_now_ns() - start) / (double)tasks, &ret->best_ns);
    start = floor_now_ns();
    for (uint64_t i = 0; i < tasks; i++) {
        trip(b);
        uint64_t now = floor_now_ns();
        hist_add(&ret->trips, now - start);
        start = now;
    }
    ret->tasks += 2 * tasks;
}

/* Each trip begins when the worker has been idle for so long that it sleeps. */
static void round_parked(struct bench *b, uint64_t tasks, struct latency *ret)
{
    uint64_t ns = 0;
    for (uint64_t i = 0; i < tasks; i++) {
        floor_sleep_ns(IDLE_NS);
        uint64_t start = floor_now_ns();
        trip(b);
        uint64_t trip_ns = floor_now_ns() - start;
        hist_add(&ret->trips, trip_ns);
        ns += trip_ns;
    }
    bench_keep_best((double)ns / (double)tasks, &ret->best_ns);
    ret->tasks += tasks;
}

static void measure_latency(struct bench *b, struct floor *floor, enum floor_kind kind,
                            uint64_t seconds_ns, struct latency *ret)
{
    static double floor_ns[ROUNDS_MAX];
    int parked = kind == FLOOR_FUTEX;
    uint64_t usual = parked ? PARKED_TASKS : AWAKE_TASKS;
    uint64_t tasks = b->options->tasks != 0 ? b->options->tasks : usual;
    uint64_t deadline_ns = floor_now_ns() + seconds_ns;
    while (another(ret->rounds, ROUNDS_LATENCY_MIN, deadline_ns)) {
        if (parked) {
            round_parked(b, tasks, ret);
        } else {
            round_awake(b, tasks, ret);
        }
        floor_sleep_ns(SETTLE_NS);
        if (!parked) {
            (void)bench_floor(floor, kind, LINE_WARM_UP);
        }
        floor_ns[ret->rounds] = bench_floor(floor, kind, usual);
        bench_keep_best(floor_ns[ret->rounds], &ret->floor_best_ns);
        ret->rounds++;
    }
    ret->floor_ns = stats_spread(floor_ns, ret->rounds);
    ret->ratio = ret->best_ns / ret->floor_best_ns;
    ret->measured = 1;
}

/* Keeps the window full: the oldest is collected when there is no room for the next. */
static void in_flight(struct bench *b, uint64_t tasks)
{
    uint64_t window = b->options->window, first = b->task;
    for (uint64_t i = 0; i < tasks; i++) {
        mob_ref *slot = &b->refs[i % window];
        if (i >= window) {
            collect(b, first + i - window, *slot);
        }
        submit(b, slot);
    }
    for (uint64_t i = tasks > window ? tasks - window : 0; i < tasks; i++) {
        collect(b, first + i, b->refs[i % window]);
    }
}

static void measure_rate(struct bench *b, struct floor *floor, uint64_t seconds_ns,
                         struct rate *ret)
{
    static double per_s[ROUNDS_MAX], floor_per_s[ROUNDS_MAX], ratio[ROUNDS_MAX];
    uint64_t tasks = b->options->tasks;
    uint64_t start = floor_now_ns(), deadline_ns = start + seconds_ns;
    if (tasks == 0) { /* a slow task gets rounds that fit the time all the same */
        in_flight(b, b->options->window);
        uint64_t task_ns = (floor_now_ns() - start) / b->options->window + 1;
        uint64_t fit = seconds_ns / (2 * ROUNDS_RATE_MIN) / task_ns;
        tasks = fit < b->options->window ? b->options->window : fit;
        tasks = tasks < RATE_TASKS ? tasks : RATE_TASKS;
    }
    while (another(ret->rounds, ROUNDS_RATE_MIN, deadline_ns)) {
        uint64_t i = ret->rounds++;
        in_flight(b, b->options->window); /* wakes the worker, fills the window's lines */
        start = floor_now_ns();
        in_flight(b, tasks);
        per_s[i] = (double)tasks * 1e9 / (double)(floor_now_ns() - start);
        floor_sleep_ns(SETTLE_NS);
        floor_per_s[i] = 1e9 / bench_floor(floor, FLOOR_QUEUE, QUEUE_ITEMS);
        ratio[i] = per_s[i] / floor_per_s[i];
    }
    ret->tasks = ret->rounds * tasks;
    ret->per_s = stats_spread(per_s, ret->rounds);
    ret->floor_per_s = stats_spread(floor_per_s, ret->rounds);
    ret->ratio = stats_spread(ratio, ret->rounds);
    ret->measured = 1;
}

/* ---- the run
 * ------------------------------------------------------------------------------- */

static void warm_up(struct bench *b)
{
    uint64_t limit_ns = floor_now_ns() + (uint64_t)(b->options->seconds * 0.1e9);
    trip(b); /* the worker starts */
    for (int i = 0; i < WARM_UP_TASKS && floor_now_ns() < limit_ns; i++) {
        trip(b);
    }
}

static void bench_open(struct bench *b, struct results *results)
{
    const struct options *options = b->options;
    struct mob_config config = {.struct_size = sizeof config,
                                .address = options->address,
                                .num_cpus = options->cpus,
                                .pin = options->pin,
                                .job_name = "square_bench"};
    b->input = calloc(1, options->payload);
    b->refs = calloc(options->window, sizeof *b->refs);
    if (b->input == NULL || b->refs == NULL) {
        fprintf(stderr, "square_bench: no memory for a payload of %zu bytes\n",
                options->payload);
        exit(1);
    }
    for (size_t i = 0; i < options->payload / sizeof *b->input; i++) {
        b->input[i] = (double)i;
    }
    MOB_CHECK(mob_init(&config, &b->mob));
    warm_up(b);
    results->info.struct_size = sizeof results->info;
    MOB_CHECK(mob_get_info(b->mob, &results->info));
}

void square_run(const struct options *options, struct results *results)
{
    struct bench b = {.options = options};
    uint64_t all_ns = (uint64_t)(options->seconds * 1e9);
    struct floor_options idle = FLOOR_OPTIONS_INIT;
    idle.gap_ns = IDLE_NS;
    results->cpus_usable = bench_cpus_usable();
    /* Before mob_init(): the floors are other processes and have no part in the job. */
    struct floor *bounce = bench_start_floor(FLOOR_BOUNCE, NULL);
    struct floor *futex = bench_start_floor(FLOOR_FUTEX, &idle);
    struct floor *queue = bench_start_floor(FLOOR_QUEUE, NULL);
    bench_open(&b, results);
    if (options->mode & MODE_SYNC) {
        uint64_t part_ns = options->mode == MODE_ALL ? all_ns / 4 : all_ns / 2;
        measure_latency(&b, bounce, FLOOR_BOUNCE, part_ns, &results->awake);
        measure_latency(&b, futex, FLOOR_FUTEX, part_ns, &results->parked);
    }
    if (options->mode & MODE_ASYNC) {
        uint64_t part_ns = options->mode == MODE_ALL ? all_ns / 3 : all_ns;
        measure_rate(&b, queue, part_ns, &results->rate);
    }
    mob_shutdown(b.mob);
    floor_stop(bounce);
    floor_stop(futex);
    floor_stop(queue);
    free(b.input);
    free(b.refs);
}
