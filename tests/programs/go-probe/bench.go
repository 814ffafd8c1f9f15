package main

// What a goroutine costs, and what it costs to list them all from inside.

import (
	"fmt"
	"io"
	"runtime"
	"runtime/pprof"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

// Goroutines that are started together: they fit into the queue of one processor.
const together = 200

var (
	benched = newSite("main.nothing")
	tickers = newSite("main.tick")
	longest int64
)

func init() {
	// On so many processors, for so many seconds: goroutines that begin and end, nothing else.
	commands["bench"] = func(processors, seconds int) {
		before := runtime.GOMAXPROCS(processors)
		tasks, median := bench(time.Duration(seconds) * time.Second)
		runtime.GOMAXPROCS(before)
		measured = fmt.Sprintf(",\"tasks\":%d,\"ns_median\":%d", tasks, median)
	}
	// The profile of all goroutines, as net/http/pprof makes it.
	commands["timed-profile"] = func(detail, _ int) {
		begin := time.Now()
		err := pprof.Lookup("goroutine").WriteTo(io.Discard, detail)
		measured = fmt.Sprintf(",\"ns\":%d,\"failed\":%t", time.Since(begin).Nanoseconds(), err != nil)
	}
	// A goroutine that runs every millisecond: it notices when it could not.
	commands["tick"] = func(int, int) {
		tickers.begin()
		go tick()
	}
	// The longest that it could not, since this was last asked.
	commands["stopped"] = func(int, int) {
		measured = fmt.Sprintf(",\"ns\":%d", atomic.SwapInt64(&longest, 0))
	}
}

func bench(while time.Duration) (tasks, median int64) {
	var batches []int64
	var done sync.WaitGroup
	for end := time.Now().Add(while); time.Now().Before(end); {
		begin := time.Now()
		for number := 0; number < together; number++ {
			done.Add(1)
			go nothing(&done)
		}
		done.Wait()
		batches = append(batches, time.Since(begin).Nanoseconds()/together)
	}
	tasks = int64(len(batches)) * together
	atomic.AddInt64(&benched.spawned, tasks)
	atomic.AddInt64(&benched.finished, tasks)
	sort.Slice(batches, func(one, other int) bool { return batches[one] < batches[other] })
	return tasks, batches[len(batches)/2]
}

func nothing(done *sync.WaitGroup) { done.Done() }

func tick() {
	for before := time.Now(); ; {
		time.Sleep(time.Millisecond)
		now := time.Now()
		if took := now.Sub(before).Nanoseconds(); took > atomic.LoadInt64(&longest) {
			atomic.StoreInt64(&longest, took)
		}
		before = now
	}
}
