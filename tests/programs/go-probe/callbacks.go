//go:build cgo

package main

// Callbacks from C, on threads that Go did not make. While one runs, the runtime counts a goroutine that nobody started
// with `go`; so the truth is told only when none does.

/*
#cgo LDFLAGS: -pthread
#include <pthread.h>

extern void calledBack(void);

static void *thread(void *nothing) {
	calledBack();
	calledBack();
	return nothing;
}

static void callBack(void) {
	pthread_t one;
	pthread_create(&one, NULL, thread, NULL);
	pthread_join(one, NULL);
}
*/
import "C"

var started = newSite("main.called")

//export calledBack
func calledBack() {
	started.begin()
	go called()
}

func called() { started.done() }

func init() {
	commands["callback"] = func(number, _ int) {
		for range make([]struct{}, number) {
			C.callBack()
		}
		started.settle(0)
	}
}
