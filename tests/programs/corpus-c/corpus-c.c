/* Plays a schedule with threads: `corpus-c FILE`. A line of it is `MICROSECONDS SITE COUNT FATE`: so long after the start, so
 * many threads at this site, each of which lives for so many microseconds, is "held", or is "lost". The first that is lost at
 * a site is told on stdout. The program ends with the line "MICROSECONDS end 0 0".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HELD = -1, LOST = -2, CROWD = 200, NAMED = 5, SITES = NAMED + CROWD };

static pthread_attr_t small;
static pthread_mutex_t work_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t work = PTHREAD_COND_INITIALIZER;

static void must(int error, const char *what) {
    if (error) {
        fprintf(stderr, "%s: %s\n", what, strerror(error));
        exit(70);
    }
}

/* Works for so long; waits for work until the program ends; or waits for an answer of somebody who has forgotten it. */
static void meet(int64_t fate) {
    if (fate == HELD) {
        pthread_mutex_lock(&work_lock);
        for (;;)
            pthread_cond_wait(&work, &work_lock);
    } else if (fate == LOST) {
        sem_t answer;
        sem_init(&answer, 0, 0);
        for (;;)
            sem_wait(&answer);
    } else if (fate > 0) {
        struct timespec time = {fate / 1000000, fate % 1000000 * 1000};
        nanosleep(&time, NULL);
    }
}

static void *task(void *fate) {
    meet((int64_t)(intptr_t)fate);
    return NULL;
}

/* Each site is a function that creates threads. The compiler is kept from making one of those that are alike. */
#define SITE_OF(name, function)                                                                                        \
    __attribute__((noinline, no_icf)) static void name(int64_t argument) {                                             \
        pthread_t thread;                                                                                              \
        must(pthread_create(&thread, &small, function, (void *)(intptr_t)argument), #name);                            \
    }
#define SITE(name) SITE_OF(name, task)
#define TEN(of, tens)                                                                                                  \
    of(tens##0) of(tens##1) of(tens##2) of(tens##3) of(tens##4) of(tens##5) of(tens##6) of(tens##7) of(tens##8)       \
        of(tens##9)
#define HUNDRED(of, hundreds)                                                                                          \
    TEN(of, hundreds##0) TEN(of, hundreds##1) TEN(of, hundreds##2) TEN(of, hundreds##3) TEN(of, hundreds##4)           \
    TEN(of, hundreds##5) TEN(of, hundreds##6) TEN(of, hundreds##7) TEN(of, hundreds##8) TEN(of, hundreds##9)
#define CROWD_SITE(number) SITE(crowd_##number)
#define CROWD_ROW(number) {"crowd_" #number, crowd_##number},

SITE(handle_request)
SITE(refresh_cache)
SITE(run_job)
SITE(keep_alive)
HUNDRED(CROWD_SITE, 0)
HUNDRED(CROWD_SITE, 1)

/* A server on loopback, each of whose connections is a thread, and its client. */
static struct sockaddr_in server = {.sin_family = AF_INET};

static void *connection(void *argument) {
    int fd = (int)(intptr_t)argument;
    int64_t fate;
    if (recv(fd, &fate, sizeof fate, MSG_WAITALL) == sizeof fate) {
        meet(fate);
        send(fd, "ok", 2, MSG_NOSIGNAL);
    }
    close(fd);
    return NULL;
}

SITE_OF(serve_connection, connection)

static void *accept_all(void *argument) {
    int listener = (int)(intptr_t)argument;
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        must(fd < 0 ? errno : 0, "accept");
        serve_connection(fd);
    }
    return NULL;
}

SITE_OF(start_accepting, accept_all)

static void start_server(void) {
    socklen_t length = sizeof server;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    must(bind(listener, (struct sockaddr *)&server, length) ? errno : 0, "bind");
    must(listen(listener, 1024) ? errno : 0, "listen");
    must(getsockname(listener, (struct sockaddr *)&server, &length) ? errno : 0, "getsockname");
    start_accepting(listener);
}

/* A request of this fate; the answer is not waited for. */
static void ask(int64_t fate) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    must(connect(fd, (struct sockaddr *)&server, sizeof server) ? errno : 0, "connect");
    must(send(fd, &fate, sizeof fate, MSG_NOSIGNAL) != sizeof fate ? errno : 0, "send");
    close(fd);
}

static const struct {
    const char *name;
    void (*spawn)(int64_t fate);
} sites[SITES] = {
    {"serve_connection", ask},
    {"handle_request", handle_request},
    {"refresh_cache", refresh_cache},
    {"run_job", run_job},
    {"keep_alive", keep_alive},
    HUNDRED(CROWD_ROW, 0) HUNDRED(CROWD_ROW, 1)};

static int site_of(const char *name) {
    for (int site = 0; site < SITES; site++)
        if (strcmp(sites[site].name, name) == 0)
            return site;
    fprintf(stderr, "no site %s\n", name);
    exit(70);
}

static int64_t fate_of(const char *text) {
    return strcmp(text, "held") == 0 ? HELD : strcmp(text, "lost") == 0 ? LOST : strtoll(text, NULL, 10);
}

int main(int argc, char **argv) {
    static char told[SITES];
    FILE *schedule = argc > 1 ? fopen(argv[1], "r") : NULL;
    struct timespec begun;
    long long micros;
    char name[32], fate[32];
    int count;
    must(schedule ? 0 : errno, "the schedule");
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 64 * 1024);
    pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED);
    start_server();
    clock_gettime(CLOCK_MONOTONIC, &begun);
    while (fscanf(schedule, "%lld %31s %d %31s", &micros, name, &count, fate) == 4) {
        struct timespec due = {begun.tv_sec + micros / 1000000, begun.tv_nsec + micros % 1000000 * 1000};
        if (due.tv_nsec >= 1000000000) {
            due.tv_sec++;
            due.tv_nsec -= 1000000000;
        }
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL) == EINTR)
            ;
        if (strcmp(name, "end") == 0)
            break;
        int site = site_of(name);
        if (fate_of(fate) == LOST && !told[site]) {
            struct timespec now;
            clock_gettime(CLOCK_REALTIME, &now);
            told[site] = 1;
            printf("{\"pid\":%d,\"site\":\"%s\",\"began\":%lld.%03ld}\n", getpid(), name, (long long)now.tv_sec,
                   now.tv_nsec / 1000000);
            fflush(stdout);
        }
        for (; count > 0; count--)
            sites[site].spawn(fate_of(fate));
    }
    /* The threads are not waited for. */
    _exit(0);
}
