#include "core/machine.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/status.h"

enum {
    FILE_BYTES_MAX =
        1 << 20,    /* of a file of /proc or /sys: mount tables of big hosts are long */
    CHAIN_MAX = 64, /* cgroups from our own up to the root */
    AFFINITY_CPUS_MAX = 1 << 16,
};

/* ---- files --------------------------------------------------------------------- */

/* The whole file @root/@path as a string; NULL if it cannot be read or is empty. The
 * caller frees it. Files of /proc and /sys have no size, hence the reading up to a NUL.
 */
static char *slurp(const char *root, const char *path)
{
    char full[PATH_MAX], *text = NULL;
    size_t size = 0;
    if (snprintf(full, sizeof full, "%s%s", root, path) >= (int)sizeof full) {
        return NULL;
    }
    FILE *file = fopen(full, "re");
    if (file && getdelim(&text, &size, 0, file) < 0) {
        free(text);
        text = NULL;
    }
    if (file) {
        fclose(file);
    }
    return text;
}

/* @dir/@name as slurp() reads it. */
static char *slurp_in(const char *root, const char *dir, const char *name)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path) {
        return NULL;
    }
    return slurp(root, path);
}

/* The number at the beginning of @text. False if there is none, or for "max". */
static bool number(const char *text, uint64_t *ret)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || errno) {
        return false;
    }
    *ret = value;
    return true;
}

/* The number in the file, or @otherwise. */
static uint64_t read_number(const char *root, const char *dir, const char *name,
                            uint64_t otherwise)
{
    uint64_t value = otherwise;
    char *text = slurp_in(root, dir, name);
    if (text && !number(text, &value)) {
        value = otherwise;
    }
    free(text);
    return value;
}

/* The number that follows @key at the beginning of a line of @text. */
static bool keyed_number(const char *text, const char *key, uint64_t *ret)
{
    size_t length = strlen(key);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (!strncmp(line, key, length) &&
            (line[length] == ' ' || line[length] == '\t')) {
            return number(line + length + strspn(line + length, " \t"), ret);
        }
    }
    return false;
}

/* ---- where the cgroups are ----------------------------------------------------- */

/* Our folder in one hierarchy, and how far up it can be read. */
struct hierarchy {
    char dir[PATH_MAX]; /* as seen here, below the root of the tree */
    size_t mount;       /* length of the part of dir that is the mount point */
};

/* True if @item is in the comma-separated @list. */
static bool in_list(const char *list, const char *item)
{
    size_t length = strlen(item);
    for (const char *at = list; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (!strncmp(at, item, length) && (at[length] == ',' || at[length] == 0)) {
            return true;
        }
    }
    return false;
}

/* Our path in the hierarchy of @controller, "" for version 2: lines "4:memory:/a/b",
 * "0::/a". A path may contain colons. */
static bool own_path(char *cgroups, const char *controller, char path[static PATH_MAX])
{
    char *save;
    for (char *line = strtok_r(cgroups, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save)) {
        char *list = strchr(line, ':');
        char *own = list ? strchr(list + 1, ':') : NULL;
        if (!own) {
            continue;
        }
        *own++ = 0;
        if (*controller ? in_list(list + 1, controller) : !strncmp(line, "0:", 2)) {
            return snprintf(path, PATH_MAX, "%s", own) < PATH_MAX;
        }
    }
    return false;
}

/* Mount tables write space, tab, newline and backslash as \040 and so on. In place. */
static void unescape(char *text)
{
    char *to = text;
    for (const char *from = text; *from; to++) {
        if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' &&
            from[2] <= '7' && from[3] >= '0' && from[3] <= '7') {
            *to = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
            from += 4;
        } else {
            *to = *from++;
        }
    }
    *to = 0;
}

/* What follows @prefix in @path if prefix is one of its parents or itself, else NULL. */
static const char *below(const char *path, const char *prefix)
{
    size_t length = strcmp(prefix, "/") != 0 ? strlen(prefix) : 0;
    if (strncmp(path, prefix, length) != 0 ||
        (path[length] != '/' && path[length] != 0)) {
        return NULL;
    }
    return strcmp(path + length, "/") != 0 ? path + length : "";
}

/* One line of /proc/self/mountinfo: "36 35 98:0 /root /point opts [tags] - type source
 * super". True if it is a mount of the hierarchy. */
static bool parse_mount(char *line, const char *controller, char **ret_root,
                        char **ret_point)
{
    char *save, *field[6] = {NULL};
    char *rest = strstr(line, " - ");
    if (!rest) {
        return false;
    }
    *rest = 0;
    unsigned n = 0;
    for (char *f = strtok_r(line, " ", &save); f && n < 6;
         f = strtok_r(NULL, " ", &save)) {
        field[n++] = f;
    }
    char *type = strtok_r(rest + 3, " ", &save);
    char *source = strtok_r(NULL, " ", &save);
    char *super = strtok_r(NULL, " ", &save);
    if (n < 6 || !type || !source) {
        return false;
    }
    if (*controller ? strcmp(type, "cgroup") != 0 || !super || !in_list(super, controller)
                    : strcmp(type, "cgroup2") != 0) {
        return false;
    }
    unescape(field[3]);
    unescape(field[4]);
    *ret_root = field[3];
    *ret_point = field[4];
    return true;
}

/* Finds our folder in the hierarchy of @controller, "" for version 2. Of several mounts
 * the one that shows most of our chain is taken. A mount whose root is not above us, as
 * in a container that sees the host's path but its own mount, shows our own cgroup as its
 * top. */
static bool find_hierarchy(const char *root, const char *controller,
                           struct hierarchy *ret)
{
    char own[PATH_MAX];
    char *cgroups = slurp(root, "/proc/self/cgroup");
    char *mounts = slurp(root, "/proc/self/mountinfo");
    bool found = false;
    size_t best_root = SIZE_MAX;
    char *save;
    if (!cgroups || !mounts || !own_path(cgroups, controller, own)) {
        goto free_texts;
    }
    for (char *line = strtok_r(mounts, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save)) {
        char *top, *point;
        if (!parse_mount(line, controller, &top, &point)) {
            continue;
        }
        const char *inside = below(own, top);
        if (inside && strstr(inside, "/..")) {
            continue; /* this process lies outside of what the namespace shows */
        }
        size_t rank = inside ? strlen(top) : SIZE_MAX - 1;
        if (rank >= best_root || strlen(point) + strlen(own) >= PATH_MAX) {
            continue;
        }
        found = true;
        best_root = rank;
        ret->mount = strlen(point);
        snprintf(ret->dir, sizeof ret->dir, "%s%s", point, inside ? inside : "");
    }
free_texts:
    free(cgroups);
    free(mounts);
    return found;
}

/* Goes to the parent. False at the mount point. */
static bool up(struct hierarchy *h)
{
    char *slash = strrchr(h->dir, '/');
    if (!slash || (size_t)(slash - h->dir) < h->mount) {
        return false;
    }
    *slash = 0;
    return true;
}

/* ---- CPUs ---------------------------------------------------------------------- */

/* The quota of one cgroup in CPUs, UINT64_MAX if it has none. */
static uint64_t quota(const char *root, const char *dir, bool version2)
{
    uint64_t runtime = UINT64_MAX, period = 0;
    if (version2) {
        char *text = slurp_in(root, dir, "cpu.max"); /* "max 100000", "50000 100000" */
        char *second = text ? strchr(text, ' ') : NULL;
        if (!second || !number(text, &runtime) || !number(second + 1, &period)) {
            runtime = UINT64_MAX;
        }
        free(text);
    } else {
        runtime = read_number(root, dir, "cpu.cfs_quota_us", UINT64_MAX); /* or -1 */
        period = read_number(root, dir, "cpu.cfs_period_us", 0);
    }
    return runtime == UINT64_MAX || period == 0 ? UINT64_MAX : runtime / period;
}

unsigned machine_cpus_at(const char *root, unsigned affinity)
{
    static const char *const controllers[] = {"cpu", ""};
    uint64_t least = affinity;
    for (unsigned i = 0; i < 2; i++) {
        struct hierarchy h;
        if (!find_hierarchy(root, controllers[i], &h)) {
            continue;
        }
        unsigned depth = 0;
        do {
            uint64_t cpus = quota(root, h.dir, i == 1);
            least = cpus < least ? cpus : least;
        } while (++depth < CHAIN_MAX && up(&h));
    }
    return least > 0 ? (unsigned)least : 1;
}

unsigned machine_cpus(void)
{
    unsigned affinity = 1;
    for (int cpus = 1024; cpus <= AFFINITY_CPUS_MAX; cpus *= 2) {
        cpu_set_t *set = CPU_ALLOC((size_t)cpus);
        if (!set) {
            break;
        }
        size_t size = CPU_ALLOC_SIZE((size_t)cpus);
        int rc = sched_getaffinity(0, size, set);
        int err = errno;
        if (rc == 0) {
            affinity = (unsigned)CPU_COUNT_S(size, set);
        }
        CPU_FREE(set);
        if (rc == 0 || err != EINVAL) {
            break;
        }
    }
    return machine_cpus_at("", affinity);
}

/* ---- memory -------------------------------------------------------------------- */

/* Version 1 writes "no limit" as the largest multiple of a page. */
static uint64_t unlimited_if_huge(uint64_t bytes)
{
    return bytes >= 1ull << 62 ? MACHINE_UNLIMITED : bytes;
}

static void read_cgroup(const char *root, const char *dir, bool version2,
                        struct machine_cgroup *ret)
{
    snprintf(ret->path, sizeof ret->path, "%.*s", (int)sizeof ret->path - 1, dir);
    ret->limit_bytes = unlimited_if_huge(read_number(
        root, dir, version2 ? "memory.max" : "memory.limit_in_bytes", MACHINE_UNLIMITED));
    ret->high_bytes =
        version2
            ? unlimited_if_huge(read_number(root, dir, "memory.high", MACHINE_UNLIMITED))
            : MACHINE_UNLIMITED;
    ret->usage_bytes = ret->reclaimable_bytes = 0;
    if (ret->limit_bytes == MACHINE_UNLIMITED && ret->high_bytes == MACHINE_UNLIMITED) {
        return; /* the other files are slow to read */
    }
    ret->usage_bytes =
        read_number(root, dir, version2 ? "memory.current" : "memory.usage_in_bytes", 0);
    char *stat = slurp_in(root, dir, "memory.stat");
    uint64_t inactive;
    if (stat && keyed_number(stat, version2 ? "inactive_file" : "total_inactive_file",
                             &inactive)) {
        ret->reclaimable_bytes =
            inactive < ret->usage_bytes ? inactive : ret->usage_bytes;
    }
    free(stat);
}

static uint64_t bound_of(const struct machine_cgroup *cgroup)
{
    return cgroup->high_bytes < cgroup->limit_bytes ? cgroup->high_bytes
                                                    : cgroup->limit_bytes;
}

static uint64_t room_in(const struct machine_cgroup *cgroup)
{
    uint64_t bound = bound_of(cgroup);
    uint64_t kept = cgroup->usage_bytes - cgroup->reclaimable_bytes;
    return bound == MACHINE_UNLIMITED ? MACHINE_UNLIMITED
           : bound > kept             ? bound - kept
                                      : 0;
}

static void look_at_chain(const char *root, bool version2, struct machine_memory *memory)
{
    struct hierarchy h;
    if (!find_hierarchy(root, version2 ? "" : "memory", &h)) {
        return;
    }
    unsigned depth = 0;
    do {
        struct machine_cgroup cgroup;
        read_cgroup(root, h.dir, version2, &cgroup);
        uint64_t bound = bound_of(&cgroup);
        if (bound == MACHINE_UNLIMITED) {
            continue;
        }
        memory->limit_bytes = bound < memory->limit_bytes ? bound : memory->limit_bytes;
        if (memory->tightest.path[0] == 0 ||
            room_in(&cgroup) < room_in(&memory->tightest)) {
            memory->tightest = cgroup;
        }
    } while (++depth < CHAIN_MAX && up(&h));
}

mob_status machine_memory_at(const char *root, struct machine_memory *ret)
{
    struct machine_memory memory = {
        .tightest = {.limit_bytes = MACHINE_UNLIMITED, .high_bytes = MACHINE_UNLIMITED}};
    uint64_t total_kib, free_kib;
    char *info = slurp(root, "/proc/meminfo");
    bool ok = info && keyed_number(info, "MemTotal:", &total_kib) &&
              keyed_number(info, "MemAvailable:", &free_kib);
    free(info);
    if (!ok || total_kib > UINT64_MAX >> 11 || free_kib > UINT64_MAX >> 11) {
        return status_fail(
            MOB_ERR_UNSUPPORTED,
            "%s/proc/meminfo does not tell MemTotal and MemAvailable (is /proc "
            "mounted?)",
            root);
    }
    memory.total_bytes = memory.limit_bytes = total_kib << 10;
    memory.ram_free_bytes = free_kib << 10;
    look_at_chain(root, false, &memory);
    look_at_chain(root, true, &memory);
    uint64_t room = room_in(&memory.tightest);
    memory.cgroup_binds = room < memory.ram_free_bytes;
    memory.available_bytes = memory.cgroup_binds ? room : memory.ram_free_bytes;
    *ret = memory;
    return MOB_OK;
}

mob_status machine_memory(struct machine_memory *ret)
{
    return machine_memory_at("", ret);
}

/* ---- who is alive -------------------------------------------------------------- */

mob_status machine_boot_id_at(const char *root, char *buf)
{
    char *text = slurp(root, "/proc/sys/kernel/random/boot_id");
    size_t length = text ? strcspn(text, "\n") : 0;
    bool ok = length > 0 && length < MACHINE_ID_BYTES;
    if (ok) {
        memcpy(buf, text, length);
        buf[length] = 0;
    }
    free(text);
    return ok ? MOB_OK
              : status_fail(MOB_ERR_UNSUPPORTED,
                            "%s/proc/sys/kernel/random/boot_id has no boot id", root);
}

mob_status machine_boot_id(char *buf)
{
    return machine_boot_id_at("", buf);
}

char *machine_huge_pages_at(const char *root, char *buf, size_t size)
{
    /* All that there are, with the one in force in brackets. */
    char *text = slurp(root, "/sys/kernel/mm/transparent_hugepage/shmem_enabled");
    const char *from = text ? strchr(text, '[') : NULL;
    int length = from ? (int)strcspn(from + 1, "]\n") : 1;
    snprintf(buf, size, "%.*s", length, from ? from + 1 : "?");
    free(text);
    return buf;
}

char *machine_huge_pages(char *buf, size_t size)
{
    return machine_huge_pages_at("", buf, size);
}

char *machine_hostname(char *buf, size_t size)
{
    if (size > 0 && (gethostname(buf, size) < 0 || !memchr(buf, 0, size) || !buf[0])) {
        snprintf(buf, size, "localhost");
    }
    return buf;
}

mob_status machine_pid_start_at(const char *root, pid_t pid, uint64_t *ret_ticks)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    char *text = slurp(root, path);
    if (!text) {
        char self[PATH_MAX];
        snprintf(self, sizeof self, "%s/proc/self/stat", root);
        return access(self, R_OK) == 0
                   ? status_fail(MOB_ERR_NOT_FOUND, "there is no process %d", (int)pid)
                   : status_fail(MOB_ERR_UNSUPPORTED,
                                 "cannot read %s (is /proc mounted?)", self);
    }
    /* "pid (name) state ..." where the name may have blanks and parentheses; start is
     * field 22, the twentieth behind the name. */
    char *at = strrchr(text, ')');
    char state = at && at[1] ? at[2] : 0;
    for (unsigned field = 2; at && field < 22; field++) {
        at = strchr(at + 1, ' ');
    }
    uint64_t ticks;
    bool ok = at && number(at + 1, &ticks);
    free(text);
    if (!ok) {
        return status_fail(MOB_ERR_UNSUPPORTED, "%s%s has no start time", root, path);
    }
    if (state == 'Z' || state == 'X') {
        return status_fail(MOB_ERR_NOT_FOUND, "process %d is dead", (int)pid);
    }
    *ret_ticks = ticks;
    return MOB_OK;
}

mob_status machine_pid_start(pid_t pid, uint64_t *ret_ticks)
{
    return machine_pid_start_at("", pid, ret_ticks);
}
