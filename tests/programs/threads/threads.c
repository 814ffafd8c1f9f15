/* A program that creates threads and processes in every way there is, and counts them itself.
 *
 * Commands come on stdin, one a line. Each is answered, once everything stands still again, by one line of
 * JSON on stdout. The counters are in memory that children share: threads of this process (without the main
 * thread), and children by way of creation. The end of stdin ends the program.
 *
 * cc -O2 -g -pthread -o threads threads.c
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* One per process that this program made and that tells about itself. */
struct truth {
    atomic_ulong spawned, finished;           /* threads of this process, main thread left out */
    atomic_ulong alpha, beta;                 /* of them: created by spawn_alpha, by spawn_beta */
    atomic_ulong forks, vforks, posix_spawns; /* children made; all reaped unless parked */
};

static struct truth *truth;
static const char *self;
static pthread_mutex_t gate_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate_opened = PTHREAD_COND_INITIALIZER;
static int gate_open;
static unsigned long behind_gate;

static void check(int ok, const char *what) {
    if (!ok) {
        fprintf(stderr, "threads: %s: %s\n", what, strerror(errno));
        _exit(70);
    }
}

static void tell(const char *phase) {
    unsigned long spawned = truth->spawned, finished = truth->finished;
    printf("{\"pid\":%d,\"phase\":\"%s\",\"spawned\":%lu,\"finished\":%lu,\"live\":%lu,\"alpha\":%lu,\"beta\":%lu,"
           "\"forks\":%lu,\"vforks\":%lu,\"posix_spawns\":%lu}\n",
           getpid(), phase, spawned, finished, spawned - finished, truth->alpha, truth->beta, truth->forks,
           truth->vforks, truth->posix_spawns);
    fflush(stdout);
}

static void pass_gate(void) {
    pthread_mutex_lock(&gate_lock);
    while (!gate_open)
        pthread_cond_wait(&gate_opened, &gate_lock);
    pthread_mutex_unlock(&gate_lock);
}

static void *brief(void *arg) {
    atomic_fetch_add(&truth->finished, 1);
    return arg;
}

static void *parked(void *arg) {
    pass_gate();
    atomic_fetch_add(&truth->finished, 1);
    return arg;
}

/* Counts before the creation, so that a kill in between cannot make the kernel know more than we do. */
static void prepare(pthread_attr_t *attr, int detached) {
    pthread_attr_init(attr);
    pthread_attr_setstacksize(attr, 64 * 1024);
    if (detached)
        pthread_attr_setdetachstate(attr, PTHREAD_CREATE_DETACHED);
    atomic_fetch_add(&truth->spawned, 1);
}

static void created(pthread_attr_t *attr, int error) {
    pthread_attr_destroy(attr);
    errno = error;
    check(error == 0, "pthread_create");
}

/* The two named spawn sites: each calls pthread_create itself. */
__attribute__((noinline)) pthread_t spawn_alpha(void *(*body)(void *), int detached) {
    pthread_t thread;
    pthread_attr_t attr;
    prepare(&attr, detached);
    atomic_fetch_add(&truth->alpha, 1);
    created(&attr, pthread_create(&thread, &attr, body, NULL));
    return thread;
}

__attribute__((noinline)) pthread_t spawn_beta(void *(*body)(void *), int detached) {
    pthread_t thread;
    pthread_attr_t attr;
    prepare(&attr, detached);
    created(&attr, pthread_create(&thread, &attr, body, NULL));
    atomic_fetch_add(&truth->beta, 1);
    return thread;
}

/* Waits until the kernel has as many threads of this process as we count. A leader that ended early is
 * still listed. */
static void settle(void) {
    for (;;) {
        char line[256];
        unsigned long have = 0;
        FILE *file = fopen("/proc/thread-self/status", "r");
        check(file != NULL, "/proc/thread-self/status");
        while (fgets(line, sizeof line, file))
            if (sscanf(line, "Threads: %lu", &have) == 1)
                break;
        fclose(file);
        if (have == 1 + truth->spawned - truth->finished)
            return;
        usleep(1000);
    }
}

static void joined(long n) {
    for (long i = 0; i < n; i++) {
        pthread_t thread = i % 2 ? spawn_beta(brief, 0) : spawn_alpha(brief, 0);
        pthread_join(thread, NULL);
    }
    settle();
}

static void detached(long n) {
    unsigned long before = truth->finished;
    for (long i = 0; i < n; i++)
        spawn_alpha(brief, 1);
    while (truth->finished < before + n)
        usleep(1000);
    settle();
}

static void park(long n) {
    gate_open = 0;
    behind_gate += n;
    for (long i = 0; i < n; i++)
        i % 3 ? spawn_beta(parked, 1) : spawn_alpha(parked, 1);
    settle();
}

static void release(void) {
    unsigned long before = truth->finished;
    pthread_mutex_lock(&gate_lock);
    gate_open = 1;
    pthread_cond_broadcast(&gate_opened);
    pthread_mutex_unlock(&gate_lock);
    while (truth->finished < before + behind_gate)
        usleep(1000);
    behind_gate = 0;
    settle();
}

static void *spinner(void *arg) {
    long n = (long)arg;
    for (long i = 0; i < n; i++)
        pthread_join(spawn_alpha(brief, 0), NULL);
    atomic_fetch_add(&truth->finished, 1);
    return NULL;
}

/* n threads by each of two threads at once. */
static void storm(long n) {
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        atomic_fetch_add(&truth->spawned, 1);
        check(pthread_create(&threads[i], NULL, spinner, (void *)n) == 0, "pthread_create");
    }
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    settle();
}

static void reap(pid_t child) {
    int status;
    while (waitpid(child, &status, 0) < 0)
        check(errno == EINTR, "waitpid");
}

/* A child gets a record of its own; the shared page stays the parent's. */
static void become_child(void) {
    behind_gate = 0;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    truth = mmap(NULL, sizeof *truth, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    check(truth != MAP_FAILED, "mmap");
}

static void forks(long n) {
    for (long i = 0; i < n; i++) {
        atomic_fetch_add(&truth->forks, 1);
        pid_t child = fork();
        check(child >= 0, "fork");
        if (child == 0) {
            become_child();
            for (int k = 0; k < 3; k++)
                spawn_beta(brief, i % 2);
            _exit(0); /* with threads that may be alive */
        }
        reap(child);
    }
}

static void vforks(long n) {
    while (n-- > 0) {
        atomic_fetch_add(&truth->vforks, 1);
        pid_t child = vfork();
        if (child == 0) {
            if (truth->vforks % 2)
                _exit(0);
            execl("/bin/true", "true", (char *)NULL);
            _exit(71);
        }
        check(child > 0, "vfork");
        reap(child);
    }
}

static void posix_spawns(long n) {
    char *argv[] = {"true", NULL};
    for (long i = 0; i < n; i++) {
        pid_t child;
        atomic_fetch_add(&truth->posix_spawns, 1);
        errno = posix_spawn(&child, "/bin/true", NULL, NULL, argv, environ);
        check(errno == 0, "posix_spawn");
        reap(child);
    }
}

/* A forked child with n parked threads that tells its truth and stays. */
static void forked_family(long n) {
    fflush(stdout);
    atomic_fetch_add(&truth->forks, 1);
    pid_t child = fork();
    check(child >= 0, "fork");
    if (child == 0) {
        become_child();
        park(n);
        joined(n);
        tell("forked");
        for (;;)
            pause();
    }
}

/* Replaces this program by itself. The kernel ends all other threads, so that the new image begins with
 * every thread we made ended; the counts go along as arguments. */
static void exec_self(void) {
    char counts[128];
    snprintf(counts, sizeof counts, "%lu %lu %lu %lu %lu %lu", truth->spawned, truth->alpha, truth->beta, truth->forks,
             truth->vforks, truth->posix_spawns);
    execl(self, self, "execed", counts, (char *)NULL);
    check(0, "execl");
}

static void *exec_from_thread(void *arg) {
    exec_self();
    return arg;
}

/* The leader ends, n threads stay; the last of them answers the next commands. */
static void *take_over(void *arg);

static void leader_exits(void) {
    pthread_t thread;
    atomic_fetch_add(&truth->spawned, 1);
    check(pthread_create(&thread, NULL, take_over, (void *)"leader-exits") == 0, "pthread_create");
    pthread_exit(NULL);
}

/* A thread that execs after the leader has gone. */
static void *exec_without_leader(void *arg) {
    usleep(20000);
    return exec_from_thread(arg);
}

static void commands(const char *first) {
    char line[128], command[32];
    if (first)
        tell(first);
    while (fgets(line, sizeof line, stdin)) {
        long n = 1;
        if (sscanf(line, "%31s %ld", command, &n) < 1)
            continue;
        if (!strcmp(command, "truth")) {
        } else if (!strcmp(command, "joined")) {
            joined(n);
        } else if (!strcmp(command, "detached")) {
            detached(n);
        } else if (!strcmp(command, "park")) {
            park(n);
        } else if (!strcmp(command, "release")) {
            release();
        } else if (!strcmp(command, "storm")) {
            storm(n);
        } else if (!strcmp(command, "fork")) {
            forks(n);
        } else if (!strcmp(command, "vfork")) {
            vforks(n);
        } else if (!strcmp(command, "posix-spawn")) {
            posix_spawns(n);
        } else if (!strcmp(command, "forked-family")) {
            forked_family(n);
        } else if (!strcmp(command, "exec")) {
            exec_self();
        } else if (!strcmp(command, "exec-thread")) {
            pthread_t thread;
            atomic_fetch_add(&truth->spawned, 1);
            check(pthread_create(&thread, NULL, exec_from_thread, NULL) == 0, "pthread_create");
            for (;;)
                pause();
        } else if (!strcmp(command, "exec-orphan")) {
            pthread_t thread;
            atomic_fetch_add(&truth->spawned, 1);
            check(pthread_create(&thread, NULL, exec_without_leader, NULL) == 0, "pthread_create");
            pthread_exit(NULL);
        } else if (!strcmp(command, "leader-exits")) {
            leader_exits();
        } else {
            printf("{\"error\":\"unknown command %s\"}\n", command);
            fflush(stdout);
            continue;
        }
        tell(command);
    }
    _exit(0);
}

static void *take_over(void *arg) {
    usleep(20000); /* the leader is on its way out; the harness polls, so this is no race that matters */
    commands(arg);
    return NULL;
}

int main(int argc, char **argv) {
    static char path[4096];
    ssize_t len = readlink("/proc/self/exe", path, sizeof path - 1);
    check(len > 0, "readlink");
    self = path;
    truth = mmap(NULL, sizeof *truth, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    check(truth != MAP_FAILED, "mmap");
    if (argc > 2) {
        unsigned long n[6] = {0};
        sscanf(argv[2], "%lu %lu %lu %lu %lu %lu", &n[0], &n[1], &n[2], &n[3], &n[4], &n[5]);
        truth->spawned = truth->finished = n[0];
        truth->alpha = n[1];
        truth->beta = n[2];
        truth->forks = n[3];
        truth->vforks = n[4];
        truth->posix_spawns = n[5];
    }
    setvbuf(stdin, NULL, _IONBF, 0); /* an exec must not take unread commands with it */
    commands(argc > 1 ? argv[1] : "start");
}
