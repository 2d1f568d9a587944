/* Preloaded before the C library: lets a process die at the n-th call that makes something durable or takes a name
   away, whoever makes it: Python, or SQLite in C. Counts nothing until it is armed. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <unistd.h>

static atomic_int armed;
static atomic_int calls;
static int fatal_call;

/* Counts from here on; the call of this number ends the process before it is made (0: none does). */
void shim_arm(int at) {
    fatal_call = at;
    atomic_store(&calls, 0);
    atomic_store(&armed, 1);
}

int shim_calls(void) { return atomic_load(&calls); }

static void count(void) {
    if (atomic_load(&armed) && atomic_fetch_add(&calls, 1) + 1 == fatal_call) _exit(97);
}

#define WRAP(name, parameters, arguments)                                        \
    int name parameters {                                                        \
        static int (*real) parameters;                                           \
        if (!real) real = (int(*) parameters)dlsym(RTLD_NEXT, #name);            \
        count();                                                                 \
        return real arguments;                                                   \
    }

WRAP(fsync, (int file), (file))
WRAP(fdatasync, (int file), (file))
WRAP(rename, (const char *from, const char *to), (from, to))
WRAP(renameat, (int folder, const char *from, int other, const char *to), (folder, from, other, to))
WRAP(link, (const char *from, const char *to), (from, to))
WRAP(linkat, (int folder, const char *from, int other, const char *to, int flags), (folder, from, other, to, flags))
WRAP(unlink, (const char *path), (path))
WRAP(unlinkat, (int folder, const char *path, int flags), (folder, path, flags))
WRAP(rmdir, (const char *path), (path))
