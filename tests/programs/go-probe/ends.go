package main

// Every way in which a goroutine ends.

import (
	"runtime"
	"sync"
	"time"
)

var (
	parked    = newSite("main.park")
	churned   = newSite("main.churn")
	panicked  = newSite("main.panics")
	exited    = newSite("main.exits")
	inPanic   = newSite("main.leavesInPanic")
	locked    = newSite("main.locked")
	timed     = newSite("main.timed")
	parents   = newSite("main.parent")
	children  = newSite("main.child")
	collected = newSite("main.finalizers")
	clouds    = newSite("main.storm")
	holders   = newSite("main.hold")
	requests  = newSite("main.request")
	literals  = newSite("main.literal.func1")
)

var (
	release = make(chan struct{})
	held    chan struct{}
)

func init() {
	commands["park"] = func(number, _ int) {
		for range make([]struct{}, number) {
			parked.begin()
			go park(release)
		}
	}
	commands["release"] = func(int, int) {
		close(release)
		release = make(chan struct{})
		parked.settle(0)
	}
	// So many goroutines, on so many goroutines at a time.
	commands["churn"] = func(number, second int) { storm(number, second) }
	commands["hold"] = func(rate, _ int) {
		held = make(chan struct{})
		holders.begin()
		go hold(held, rate)
	}
	commands["unhold"] = func(int, int) {
		close(held)
		holders.settle(0)
		requests.settle(0)
	}
	commands["panic"] = func(number, _ int) { each(panicked, number, panics) }
	commands["goexit"] = func(number, _ int) { each(exited, number, exits) }
	commands["goexit-in-panic"] = func(number, _ int) { each(inPanic, number, leavesInPanic) }
	commands["locked"] = func(number, _ int) { each(locked, number, lockedAndGone) }
	commands["after"] = func(number, _ int) {
		for range make([]struct{}, number) {
			timed.begin()
			time.AfterFunc(time.Millisecond, timedOut)
		}
		timed.settle(0)
	}
	commands["literal"] = func(number, _ int) { literal(number) }
	commands["nested"] = func(number, _ int) { each(parents, number, parent) }
	commands["gc"] = func(number, _ int) {
		for range make([]struct{}, number) {
			runtime.GC()
		}
	}
	commands["procs"] = func(number, _ int) { runtime.GOMAXPROCS(number) }
	commands["finalizers"] = func(number, _ int) { finalizers(number) }
}

func park(until chan struct{}) {
	defer parked.done()
	<-until
}

func storm(number, width int) {
	var raining sync.WaitGroup
	for range make([]struct{}, width) {
		raining.Add(1)
		clouds.begin()
		go func() {
			defer clouds.done()
			defer raining.Done()
			for range make([]struct{}, number/width) {
				churned.begin()
				go churn()
			}
		}()
	}
	raining.Wait()
	churned.settle(0)
}

// So many goroutines a second, in the background, each of which lives for about a millisecond.
func hold(until chan struct{}, rate int) {
	defer holders.done()
	begin, started := time.Now(), 0
	for {
		select {
		case <-until:
			return
		case <-time.After(time.Millisecond):
		}
		// What is missing, at most what is due in 50 ms: a machine that cannot keep up is not to be buried.
		due := int(time.Since(begin).Seconds() * float64(rate))
		if due-started > rate/20 {
			started = due - rate/20
		}
		for ; started < due; started++ {
			requests.begin()
			go request()
		}
	}
}

func request() {
	defer requests.done()
	time.Sleep(time.Millisecond)
}

func churn() { churned.done() }

func each(s *site, number int, function func()) {
	for range make([]struct{}, number) {
		s.begin()
		go function()
	}
	s.settle(0)
}

func panics() {
	defer panicked.done()
	defer func() { _ = recover() }()
	panic("on purpose")
}

func exits() {
	defer exited.done()
	runtime.Goexit()
}

func leavesInPanic() {
	defer inPanic.done()
	defer func() { _ = recover() }()
	defer runtime.Goexit()
	panic("on purpose")
}

// Its thread ends with it.
func lockedAndGone() {
	defer locked.done()
	runtime.LockOSThread()
}

func timedOut() { timed.done() }

// A function literal that keeps something and is given something: what is started is a wrapper that has it as a value.
func literal(number int) {
	leave := make(chan struct{})
	for range make([]struct{}, number) {
		literals.begin()
		go func(s *site) {
			defer s.done()
			<-leave
		}(literals)
	}
	close(leave)
	literals.settle(0)
}

func parent() {
	defer parents.done()
	var ready sync.WaitGroup
	for range make([]struct{}, 3) {
		ready.Add(1)
		children.begin()
		go child(&ready)
	}
	ready.Wait()
}

func child(ready *sync.WaitGroup) {
	defer children.done()
	ready.Done()
}

// Objects with finalizers that start goroutines.
func finalizers(number int) {
	done := make(chan struct{}, number)
	for range make([]struct{}, number) {
		collected.begin()
		object := make([]byte, 64)
		runtime.SetFinalizer(&object[0], func(*byte) {
			go func() {
				defer collected.done()
				done <- struct{}{}
			}()
		})
	}
	for gone := 0; gone < number; {
		runtime.GC()
		select {
		case <-done:
			gone++
		case <-time.After(time.Millisecond):
		}
	}
}
