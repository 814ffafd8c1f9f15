//go:build cgo

package main

// Goroutines that are in C, and threads that C makes for itself. Neither ever ends.

/*
#cgo LDFLAGS: -pthread
#include <pthread.h>
#include <unistd.h>

static void blockInC(void) {
	int ends[2];
	char byte;
	if (pipe(ends) == 0)
		while (read(ends[0], &byte, 1) != 1)
			;
}

static void *pauseThread(void *nothing) {
	blockInC();
	return nothing;
}

__attribute__((noinline)) static int startPaused(void) {
	pthread_t one;
	int failed = pthread_create(&one, NULL, pauseThread, NULL);
	if (!failed)
		pthread_detach(one);
	return failed;
}
*/
import "C"

import "sync"

var inC = newSite("main.stayInC")

func init() {
	commands["in-c"] = func(number, _ int) {
		var ready sync.WaitGroup
		for range make([]struct{}, number) {
			ready.Add(1)
			inC.begin()
			go stayInC(&ready)
		}
		ready.Wait()
	}
	commands["c-threads"] = func(number, _ int) {
		for range make([]struct{}, number) {
			if C.startPaused() != 0 {
				panic("pthread_create")
			}
		}
	}
}

func stayInC(ready *sync.WaitGroup) {
	ready.Done()
	C.blockInC()
}
