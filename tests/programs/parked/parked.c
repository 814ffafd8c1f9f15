/* A program whose threads wait in every way there is, each under a name of its own, and one that never waits.
 *
 * Once all of them wait, one line of JSON is written; the end of stdin ends the program.
 *
 * cc -O2 -g -pthread -o parked parked.c
 */
#define _GNU_SOURCE
#include <alloca.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t locked = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t free_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t never = PTHREAD_COND_INITIALIZER;
static pthread_rwlock_t written = PTHREAD_RWLOCK_INITIALIZER;
static pthread_barrier_t barrier;
static sem_t semaphore;
static int pipes[2], listener, bound, held_file;
static pthread_t joined;
static pid_t child;
static atomic_int ids[64];
static atomic_int started;

static void *in_mutex(void *arg) { pthread_mutex_lock(&locked); return arg; }
static void *in_cond(void *arg) {
    pthread_mutex_lock(&free_lock);
    for (;;)
        pthread_cond_wait(&never, &free_lock);
    return arg;
}
static void *in_rwlock(void *arg) { pthread_rwlock_rdlock(&written); return arg; }
static void *in_barrier(void *arg) { pthread_barrier_wait(&barrier); return arg; }
static void *in_semaphore(void *arg) { sem_wait(&semaphore); return arg; }
static void *in_read(void *arg) { char byte; return read(pipes[0], &byte, 1) == 1 ? arg : NULL; }
static void *in_poll(void *arg) { struct pollfd fd = {pipes[0], POLLIN, 0}; poll(&fd, 1, -1); return arg; }
static void *in_select(void *arg) {
    fd_set set;
    FD_ZERO(&set);
    FD_SET(pipes[0], &set);
    select(pipes[0] + 1, &set, NULL, NULL, NULL);
    return arg;
}
static void *in_epoll(void *arg) {
    struct epoll_event event;
    int epoll = epoll_create1(0);
    epoll_wait(epoll, &event, 1, -1);
    return arg;
}
static void *in_sleep(void *arg) { sleep(100000); return arg; }
static void *in_nanosleep(void *arg) { struct timespec long_time = {100000, 0}; nanosleep(&long_time, NULL); return arg; }
static void *in_pause(void *arg) { pause(); return arg; }
static void *in_accept(void *arg) { accept(listener, NULL, NULL); return arg; }
static void *in_recv(void *arg) { char byte; return recv(bound, &byte, 1, 0) == 1 ? arg : NULL; }
static void *in_join(void *arg) { pthread_join(joined, NULL); return arg; }
static void *in_sigwait(void *arg) {
    sigset_t set;
    int which;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    sigwait(&set, &which);
    return arg;
}
static void *in_waitpid(void *arg) { waitpid(child, NULL, 0); return arg; }
static void *in_flock(void *arg) {
    int file = open("/proc/self/exe", O_RDONLY);
    flock(file, LOCK_EX);
    return arg;
}
static void *in_futex(void *arg) { static int word; syscall(SYS_futex, &word, 0, 0, NULL, NULL, 0); return arg; }

__attribute__((noinline)) static int recurse(int left, volatile char *from) {
    volatile char room[100];
    room[0] = from[0];
    if (left == 0) {
        pause();
        return 0;
    }
    return recurse(left - 1, room) + room[0];
}
static void *in_recursion(void *arg) { char zero = 0; return recurse(200, &zero) ? arg : NULL; }
static void *in_deep_recursion(void *arg) { char zero = 0; return recurse(5000, &zero) ? arg : NULL; }

__attribute__((noinline)) static int variable(size_t size) {
    volatile char *room = alloca(size);
    room[0] = 1;
    pause();
    return room[0];
}
static void *in_alloca(void *arg) { return variable((size_t)getpid() % 1000 + 5000) ? arg : NULL; }

static int compare(const void *one, const void *other) { pause(); return *(const int *)one - *(const int *)other; }
static void *in_callback(void *arg) {
    int numbers[] = {3, 2, 1};
    qsort(numbers, 3, sizeof *numbers, compare);
    return numbers[0] ? arg : NULL;
}

static void in_handler(int signal) { (void)signal; pause(); }
static void *in_signal(void *arg) { raise(SIGUSR2); return arg; }

static atomic_ulong spun;
static void *spins(void *arg) {
    for (;;)
        spun++;
    return arg;
}

/* Wait at the end of one of two chains of calls, which are never on a stack together. */
__attribute__((noinline)) static int left(int depth, sem_t *wait) {
    if (depth == 0)
        return sem_wait(wait);
    return left(depth - 1, wait) + depth;
}
__attribute__((noinline)) static int right(int depth, sem_t *wait) {
    if (depth == 0)
        return sem_wait(wait);
    return right(depth - 1, wait) + depth;
}
static sem_t turns[8];
static volatile int sum;
static void *alternates(void *arg) {
    long own = (long)arg, other = own ^ 1;
    for (;;) {
        sum += left(10, &turns[own]);
        sem_post(&turns[other]);
        sum += right(10, &turns[own]);
        sem_post(&turns[other]);
    }
    return arg;
}

static const struct { const char *name; void *(*function)(void *); } kinds[] = {
    {"mutex", in_mutex}, {"cond", in_cond}, {"rwlock", in_rwlock}, {"barrier", in_barrier},
    {"semaphore", in_semaphore}, {"read", in_read}, {"poll", in_poll}, {"select", in_select},
    {"epoll", in_epoll}, {"sleep", in_sleep}, {"nanosleep", in_nanosleep}, {"pause", in_pause},
    {"accept", in_accept}, {"recv", in_recv}, {"sigwait", in_sigwait}, {"waitpid", in_waitpid},
    {"flock", in_flock}, {"futex", in_futex}, {"recursion", in_recursion}, {"deep-recursion", in_deep_recursion},
    {"alloca", in_alloca}, {"callback", in_callback}, {"signal", in_signal}, {"join", in_join},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

static void *begin(void *arg) {
    int kind = (int)(long)arg;
    prctl(PR_SET_NAME, kinds[kind].name);
    ids[kind] = (int)syscall(SYS_gettid);
    started++;
    return kinds[kind].function(arg);
}

static int sleeps(int id) {
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", id);
    FILE *file = fopen(path, "r");
    size_t got = file ? fread(text, 1, sizeof text - 1, file) : 0;
    if (file)
        fclose(file);
    text[got] = 0;
    char *state = strrchr(text, ')');
    return state && state[2] == 'S';
}

int main(int count, char **arguments) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    pthread_t thread;
    pthread_mutex_lock(&locked);
    pthread_rwlock_wrlock(&written);
    pthread_barrier_init(&barrier, NULL, 2);
    sem_init(&semaphore, 0, 0);
    held_file = open("/proc/self/exe", O_RDONLY);
    if (pipe(pipes) || flock(held_file, LOCK_EX) || (listener = socket(AF_INET, SOCK_STREAM, 0)) < 0 ||
        listen(listener, 1) || (bound = socket(AF_INET, SOCK_DGRAM, 0)) < 0 ||
        bind(bound, (struct sockaddr *)&address, sizeof address))
        return 70;
    child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        pause();
    }
    signal(SIGUSR2, in_handler);
    for (long kind = 0; kind < KINDS; kind++) {
        if (pthread_create(&thread, NULL, begin, (void *)kind))
            return 71;
        if (kind == 0)
            joined = thread;
    }
    for (int all = 0; all < KINDS;) {
        usleep(20000);
        all = 0;
        for (int kind = 0; kind < KINDS; kind++)
            all += started == KINDS && sleeps(ids[kind]);
    }
    if (count > 1 && strcmp(arguments[1], "spin") == 0) {
        pthread_create(&thread, NULL, spins, NULL);
        pthread_setname_np(thread, "spins");
        while (spun == 0)
            usleep(1000);
    }
    if (count > 1 && strcmp(arguments[1], "alternate") == 0) {
        for (long turn = 0; turn < 8; turn++)
            sem_init(&turns[turn], 0, turn % 2);
        for (long turn = 0; turn < 8; turn++) {
            pthread_create(&thread, NULL, alternates, (void *)turn);
            pthread_setname_np(thread, "alternates");
        }
    }
    printf("{\"pid\":%d,\"phase\":\"parked\",\"spawned\":%d,\"finished\":0,\"live\":%d}\n", getpid(), KINDS, KINDS);
    fflush(stdout);
    char byte;
    while (read(0, &byte, 1) == 1)
        ;
    kill(child, SIGKILL);
    return 0;
}
