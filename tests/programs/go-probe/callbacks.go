//go:build cgo

package main

// Callbacks from C, on threads that Go did not make. While one runs, the runtime counts a goroutine that nobody started
// with `go`; and from Go 1.21 on for as long as its thread lives.

/*
#cgo LDFLAGS: -pthread
#include <pthread.h>
#include <semaphore.h>
#include <unistd.h>

extern void calledBack(void);
extern void blockedBack(void);

static sem_t leave;

static void *thread(void *nothing) {
	calledBack();
	calledBack();
	return nothing;
}

static void *blocked(void *nothing) {
	blockedBack();
	return nothing;
}

static void *staying(void *nothing) {
	calledBack();
	sem_wait(&leave);
	return nothing;
}

static void callBack(void) {
	pthread_t one;
	pthread_create(&one, NULL, thread, NULL);
	pthread_join(one, NULL);
}

static void begin(void *(*function)(void *)) {
	pthread_t one;
	pthread_create(&one, NULL, function, NULL);
	pthread_detach(one);
}

static void callAndBlock(void) { begin(blocked); }
static void callAndStay(void) { begin(staying); }

// A child with all the memory, one thread, and none of Go's code running. It ends with its parent.
static void forkAndStay(void) {
	pid_t parent = getpid();
	if (fork() != 0) return;
	while (getppid() == parent) usleep(10000);
	_exit(0);
}
static void letLeave(void) { sem_post(&leave); }
*/
import "C"

import (
	"runtime"
	"strings"
	"sync/atomic"
)

var started = newSite("main.called")

// Callbacks that block end when something comes.
var returns = make(chan struct{})

//export calledBack
func calledBack() {
	started.begin()
	go called()
}

func called() { started.done() }

//export blockedBack
func blockedBack() {
	atomic.AddInt64(&callbacks, 1)
	<-returns
	atomic.AddInt64(&callbacks, -1)
}

// Whether the runtime leaves a goroutine to a thread that called back.
func keeps() int64 {
	if strings.HasPrefix(runtime.Version(), "go1.19") {
		return 0
	}
	return 1
}

func repeated(do func()) func(int, int) {
	return func(number, _ int) {
		for range make([]struct{}, number) {
			do()
		}
		started.settle(0)
	}
}

func init() {
	commands["callback"] = repeated(func() { C.callBack() })
	commands["call"] = repeated(func() {
		want := atomic.LoadInt64(&callbacks) + 1
		C.callAndBlock()
		for atomic.LoadInt64(&callbacks) < want {
			runtime.Gosched()
		}
	})
	commands["return"] = repeated(func() {
		want := atomic.LoadInt64(&callbacks) - 1
		returns <- struct{}{}
		for atomic.LoadInt64(&callbacks) > want {
			runtime.Gosched()
		}
	})
	commands["stay"] = repeated(func() {
		want := atomic.LoadInt64(&started.spawned) + 1
		C.callAndStay()
		for atomic.LoadInt64(&started.spawned) < want {
			runtime.Gosched()
		}
		atomic.AddInt64(&callbacks, keeps())
	})
	commands["fork"] = repeated(func() { C.forkAndStay() })
	commands["leave"] = repeated(func() {
		atomic.AddInt64(&callbacks, -keeps())
		C.letLeave()
	})
}
