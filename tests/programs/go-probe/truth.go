package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"time"
)

// What the program knows about the goroutines that run one function.
type site struct {
	name     string
	spawned  int64
	finished int64
}

var sites []*site

func newSite(name string) *site {
	one := &site{name: name}
	sites = append(sites, one)
	return one
}

// Call it before the `go` statement; the goroutine defers `done`.
func (s *site) begin() { atomic.AddInt64(&s.spawned, 1) }
func (s *site) done()  { atomic.AddInt64(&s.finished, 1) }
func (s *site) live() int64 {
	return atomic.LoadInt64(&s.spawned) - atomic.LoadInt64(&s.finished)
}

// Waits until no more than so many of its goroutines are alive.
func (s *site) settle(left int64) {
	for s.live() > left {
		time.Sleep(time.Millisecond)
	}
}

// Goroutines that the runtime counts and that are in no site: the main one.
const others = 1

// Goroutines of callbacks from C: the runtime counts them, and nobody said `go`.
var callbacks int64

// What a command found out, as further fields of its answer.
var measured string

// Waits until the runtime agrees, and says it.
func answer(phase string) {
	for {
		spawned, finished, text := count()
		called := atomic.LoadInt64(&callbacks)
		live := others + spawned - finished + called
		if int64(runtime.NumGoroutine()) == live {
			fmt.Printf("{\"pid\":%d,\"phase\":\"%s\",\"spawned\":%d,\"finished\":%d,\"live\":%d,\"callbacks\":%d,\"sites\":[%s]%s}\n",
				os.Getpid(), phase, others+spawned, finished, live, called, text, measured)
			measured = ""
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func count() (spawned, finished int64, text string) {
	var texts []string
	for _, one := range sites {
		begun, ended := atomic.LoadInt64(&one.spawned), atomic.LoadInt64(&one.finished)
		spawned, finished = spawned+begun, finished+ended
		if begun > 0 {
			texts = append(texts, fmt.Sprintf(
				"{\"name\":\"%s\",\"kind\":\"goroutine\",\"spawned\":%d,\"finished\":%d,\"live\":%d}",
				one.name, begun, ended, begun-ended))
		}
	}
	return spawned, finished, strings.Join(texts, ",")
}
