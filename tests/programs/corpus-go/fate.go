package main

import (
	"runtime"
	"time"
)

// What becomes of a goroutine: it works for so many microseconds and ends, or one of these.
type fate int64

const (
	// It waits for work until the program ends.
	held fate = -1
	// It sends its result to somebody who does not listen any more.
	lost fate = -2
)

// The work of goroutines that are held: there never is any.
var work = make(chan func())

func fateOf(text string) fate {
	switch text {
	case "held":
		return held
	case "lost":
		return lost
	}
	return fate(integer(text))
}

func (fate fate) meet() {
	switch fate {
	case held:
		(<-work)()
	case lost:
		make(chan int) <- 1
	case 0:
		runtime.Gosched()
	default:
		time.Sleep(time.Duration(fate) * time.Microsecond)
	}
}
