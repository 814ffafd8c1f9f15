package main

// What the scheduler's threads do: goroutines that hold one each. They never end.

import (
	"runtime"
	"sync"
	"syscall"
)

var (
	bound   = newSite("main.stayBound")
	readers = newSite("main.read")
)

func init() {
	// Each is locked to a thread, which waits for it.
	commands["bound"] = func(number, _ int) {
		var ready sync.WaitGroup
		for range make([]struct{}, number) {
			ready.Add(1)
			bound.begin()
			go stayBound(&ready)
		}
		ready.Wait()
	}
	// Each is in a system call that blocks.
	commands["read"] = func(number, _ int) {
		var ready sync.WaitGroup
		for range make([]struct{}, number) {
			ready.Add(1)
			readers.begin()
			go read(&ready)
		}
		ready.Wait()
	}
}

func stayBound(ready *sync.WaitGroup) {
	runtime.LockOSThread()
	ready.Done()
	<-make(chan struct{})
}

func read(ready *sync.WaitGroup) {
	var pipe [2]int
	if err := syscall.Pipe(pipe[:]); err != nil {
		panic(err)
	}
	ready.Done()
	_, _ = syscall.Read(pipe[0], make([]byte, 1))
}
