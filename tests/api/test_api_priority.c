/* Priorities within a job: the higher ones first, and none starves. */
#include "tasks.h"

struct work {
    char path[96]; /* gets a byte for each task of its kind that is done */
    unsigned ms;
};

static mob_status work(struct mob_task *task)
{
    struct work w;
    MOB_TRY(mob_arg_copy(task, 0, &w, sizeof w));
    poll(NULL, 0, (int)w.ms);
    count_attempt(w.path);
    return MOB_OK;
}
MOB_REGISTER(work);

static struct work new_work(const char *name, unsigned ms)
{
    struct work w = {.ms = ms};
    snprintf(w.path, sizeof w.path, "%s/%s", getenv("API_SCRATCH"), name);
    unlink(w.path);
    return w;
}

static mob_ref submit_work(struct mob *mob, const struct work *w, int priority)
{
    struct mob_options options = MOB_OPTIONS_INIT;
    mob_ref ref;
    options.priority = priority;
    OK(mob_submit(mob, work, MOB_ARGS(MOB_VALUE(*w)), &options, &ref));
    return ref;
}

/* Tasks of a higher priority that come later are done while most of the others wait. */
static void higher_first(void)
{
    struct mob *mob = api_init_with(1, 256u << 20);
    struct work low = new_work("low", 20), high = new_work("high", 5);
    enum { LOW = 200, HIGH = 20 };
    mob_ref last_low = {0, 0}, last_high = {0, 0};
    size_t size;
    for (int i = 0; i < LOW; i++) {
        last_low = submit_work(mob, &low, i % 2 ? 0 : -100);
    }
    EVENTUALLY(attempts(low.path) > 0);
    for (int i = 0; i < HIGH; i++) {
        last_high = submit_work(mob, &high, 100);
    }
    OK(mob_get_size(mob, last_high, MOB_FOREVER, &size));
    EVENTUALLY(attempts(high.path) == HIGH);
    CHECK(attempts(low.path) < LOW / 2);
    OK(mob_get_size(mob, last_low, MOB_FOREVER, &size));
    EVENTUALLY(attempts(low.path) == LOW);
    mob_shutdown(mob);
}

/* One of the lowest priority while there are always some of the highest. */
static void none_starves(void)
{
    struct mob *mob = api_init_with(1, 256u << 20);
    struct work low = new_work("low", 1), high = new_work("high", 5);
    struct mob_waitset *set;
    mob_ref ref, starved;
    OK(mob_waitset_create(mob, &set));
    for (int i = 0; i < 50; i++) {
        OK(mob_waitset_add(set, submit_work(mob, &high, MOB_PRIORITY_MAX), 0));
    }
    starved = submit_work(mob, &low, -MOB_PRIORITY_MAX);
    OK(mob_waitset_add(set, starved, 1));
    uint64_t tag = 0;
    while (tag == 0) {
        OK(mob_waitset_next(set, MOB_FOREVER, &ref, &tag));
        if (tag == 0) {
            mob_release(mob, ref);
            OK(mob_waitset_add(set, submit_work(mob, &high, MOB_PRIORITY_MAX), 0));
        }
    }
    CHECK(attempts(high.path) > 50); /* it was not at once, or there is nothing to see */
    mob_waitset_destroy(set);
    mob_shutdown(mob);
}

static void misuse(void)
{
    struct mob *mob = api_init();
    struct mob_options options = MOB_OPTIONS_INIT;
    long one = 1;
    mob_ref ref;
    options.priority = 101;
    IS(mob_submit(mob, add, MOB_ARGS(MOB_VALUE(one)), &options, &ref), MOB_ERR_INVALID);
    options.priority = -101;
    IS(mob_submit(mob, add, MOB_ARGS(MOB_VALUE(one)), &options, &ref), MOB_ERR_INVALID);
    HAS(mob_last_error(), "priority of -101");
    mob_shutdown(mob);
}

API_MAIN({"higher_first", higher_first, 60}, {"none_starves", none_starves, 60},
         {"misuse", misuse, 0});
