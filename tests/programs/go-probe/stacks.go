package main

// Goroutines whose stacks are of every sort there is, all of them parked.

import (
	"reflect"
	"runtime"
	"sort"
	"sync"
	"time"
)

var (
	stacked      = newSite("main.stacks")
	stackChannel = make(chan int)
	stackOnce    sync.Once
)

// Methods that are called through wrappers of the compiler.
type waiter interface{ wait(depth int) int }

type inner struct{ waits int }

func (i inner) wait(depth int) int { i.waits += <-stackChannel; return i.waits + depth }

type outer struct {
	padding [3]int
	*inner
}

type number interface{ ~int | ~string }

type celsius int

//go:noinline
func general[T number](value T) T {
	<-stackChannel
	return value
}

//go:noinline
func deep(left int) int {
	if left == 0 {
		return <-stackChannel
	}
	return deep(left-1) + 1
}

//go:noinline
func wide(left int) byte {
	var room [20000]byte
	room[left] = byte(left)
	if left == 0 {
		return byte(<-stackChannel)
	}
	return wide(left-1) + room[left]
}

// Inlined into one another, and into whoever calls the last.
func first() int  { return <-stackChannel }
func second() int { return first() + 1 }
func third() int  { return second() + 1 }

func inPanicking() {
	defer func() { <-stackChannel }()
	panic("on purpose")
}

func inSignal() {
	defer func() { <-stackChannel }()
	var nothing *inner
	nothing.waits++
}

type sorted []int

func (s sorted) Len() int           { return len(s) }
func (s sorted) Less(i, j int) bool { <-stackChannel; return s[i] < s[j] }
func (s sorted) Swap(i, j int)      {}

// Waits at the end of one of two chains of calls, which are never on a stack together.
func left(depth int, wait func()) {
	if depth == 0 {
		wait()
		return
	}
	left(depth-1, wait)
	runtime.KeepAlive(depth)
}

func right(depth int, wait func()) {
	if depth == 0 {
		wait()
		return
	}
	right(depth-1, wait)
	runtime.KeepAlive(depth)
}

// Two goroutines that wake each other, for ever, at the end of one chain and then of the other.
func alternate(first, second func()) {
	for {
		left(10, first)
		right(10, second)
	}
}

type finalized struct{ value [4]int }

func init() {
	commands["alternate"] = func(number, _ int) {
		for range make([]struct{}, number) {
			one, other := make(chan int), make(chan int)
			stacked.begin()
			go alternate(func() { one <- 1 }, func() { <-other })
			stacked.begin()
			go alternate(func() { <-one }, func() { other <- 1 })
		}
	}
	commands["stacks"] = func(int, int) {
		start := func(function func()) {
			stacked.begin()
			go function()
		}
		start(func() { var w waiter = outer{inner: &inner{}}; w.wait(1) })
		start(func() { var w waiter = &outer{inner: &inner{}}; w.wait(1) })
		start(func() { wait := (&inner{}).wait; wait(2) })
		start(func() { general(1) })
		start(func() { general("one") })
		start(func() { general(celsius(1)) })
		start(func() { deep(20) })
		start(func() { deep(90) })
		start(func() { deep(3000) })
		start(func() { wide(30) })
		start(func() { third() })
		start(inPanicking)
		start(inSignal)
		start(func() { sort.Sort(sorted{3, 2, 1}) })
		start(func() { reflect.ValueOf(deep).Call([]reflect.Value{reflect.ValueOf(2)}) })
		start(func() { reflect.ValueOf(&outer{inner: &inner{}}).MethodByName("Wait") ; deep(1) })
		start(func() { stackOnce.Do(func() { <-stackChannel }) })
		start(func() { func() { defer func() { deep(3) }() }() })
		stacked.begin()
		go inner{}.wait(3)
		stacked.begin()
		go (&outer{inner: &inner{}}).wait(4)
		stacked.begin()
		go general("go")
		runtime.SetFinalizer(&finalized{}, func(*finalized) { <-stackChannel })
		runtime.GC()
		time.Sleep(200 * time.Millisecond)
	}
}
