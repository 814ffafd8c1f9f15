package main

// Goroutines that wait in every way there is, and what the runtime says of them.

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"sync"
	"time"
)

var zoo = newSite("main.zoo")

var (
	zooChannel  = make(chan int)
	zooBuffered = make(chan int, 2)
	zooNothing  chan int
	zooMutex    sync.Mutex
	zooReaders  sync.RWMutex
	zooGroup    sync.WaitGroup
	zooCond     = sync.NewCond(&sync.Mutex{})
	// Both ends of a pipe: one that is forgotten is closed.
	zooPipe [2]*os.File
)

func keep(function func()) {
	zoo.begin()
	go function()
}

func leaked() {
	forgotten := make(chan int)
	keep(func() { <-forgotten })
}

func init() {
	commands["zoo"] = func(int, int) {
		zooMutex.Lock()
		zooReaders.Lock()
		zooGroup.Add(1)
		zooBuffered <- 1
		zooBuffered <- 2
		var err error
		if zooPipe[0], zooPipe[1], err = os.Pipe(); err != nil {
			panic(err)
		}
		labels := pprof.Labels("request", "42", "tenant", "blue")
		zoo.begin()
		pprof.Do(context.Background(), labels, func(context.Context) {
			go func() { <-zooChannel }()
		})
		keep(func() { zooBuffered <- 3 })
		keep(func() { <-zooNothing })
		keep(func() { zooNothing <- 1 })
		keep(func() { select {} })
		keep(func() {
			select {
			case <-zooChannel:
			case zooBuffered <- 4:
			}
		})
		keep(func() { time.Sleep(time.Hour) })
		keep(func() { zooMutex.Lock() })
		keep(func() { zooReaders.RLock() })
		keep(func() { zooGroup.Wait() })
		keep(func() { zooCond.L.Lock(); zooCond.Wait() })
		keep(func() { _, _ = zooPipe[0].Read(make([]byte, 1)) })
		keep(func() { runtime.LockOSThread(); <-zooChannel })
		keep(func() { blockedInSyscall() })
		keep(func() { runtime.LockOSThread(); blockedInSyscall() })
		time.Sleep(200 * time.Millisecond)
	}
	commands["leak"] = func(number, _ int) {
		for range make([]struct{}, number) {
			leaked()
		}
		time.Sleep(20 * time.Millisecond)
	}
	// What the runtime itself says, in files of the folder that is the program's first argument.
	commands["profile"] = func(int, int) { profile("goroutine", 2) }
	// The same of goroutines that nothing can wake; finding out is part of it (Go 1.26 with an experiment, later ones by
	// themselves).
	commands["leaks"] = func(int, int) { profile("goroutineleak", 1) }
}

func profile(name string, debug int) {
	file, err := os.Create(filepath.Join(os.Args[1], name))
	if err != nil {
		panic(err)
	}
	defer file.Close()
	if found := pprof.Lookup(name); found != nil {
		_ = found.WriteTo(file, debug)
	}
}
