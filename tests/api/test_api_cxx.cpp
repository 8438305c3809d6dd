// The API from C++11: macros, values of any type, a task from a library in C.
#include <array>
#include <cstdio>
#include <cstdlib>

#include "link_task.h"

struct point {
    double x, y;
};

static mob_status length2(struct mob_task *task)
{
    point p, q;
    MOB_TRY(mob_arg_copy(task, 0, &p, sizeof p));
    MOB_TRY(mob_arg_copy(task, 1, &q, sizeof q));
    double d = (p.x - q.x) * (p.x - q.x) + (p.y - q.y) * (p.y - q.y);
    return mob_return_copy(task, 0, &d, sizeof d);
}
MOB_REGISTER(length2);

static mob_status throws_nothing(struct mob_task *task)
{
    return mob_fail(task, "from C++ with %d", 3);
}
MOB_REGISTER_AS(throws_nothing, "a name");

template <class T>
static T get(struct mob *mob, mob_ref ref)
{
    T value;
    MOB_CHECK(mob_get_copy(mob, ref, &value, sizeof value, MOB_FOREVER));
    mob_release(mob, ref);
    return value;
}

int main()
{
    struct mob *mob;
    mob_ref ref, in;
    MOB_CHECK(mob_init(nullptr, &mob));
    point p = {1, 2};
    MOB_CHECK(mob_put(mob, &p, sizeof p, MOB_FOREVER, &in));
    MOB_CHECK(mob_submit(mob, length2, MOB_ARGS(MOB_REF(in), MOB_VALUE((point{4, 6}))),
                         nullptr, &ref));
    if (get<double>(mob, ref) != 25) {
        return 1;
    }
    MOB_CHECK(mob_submit(mob, link_called, MOB_NO_ARGS, nullptr, &ref));
    if (get<int>(mob, ref) != 11) {
        return 1;
    }
    struct mob_options options = MOB_OPTIONS_INIT;
    options.returns = 2;
    std::array<mob_ref, 2> refs;
    MOB_CHECK(mob_submit_name(mob, "a name", MOB_NO_ARGS, &options, refs.data()));
    size_t size;
    if (mob_get_size(mob, refs[1], MOB_FOREVER, &size) != MOB_ERR_TASK_FAILED) {
        return 1;
    }
    mob_shutdown(mob);
    return 0;
}
