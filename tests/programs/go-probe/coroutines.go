//go:build go1.23

package main

// Coroutines: goroutines that the runtime makes for iter.Pull.

import "iter"

var (
	// The function of a coroutine is the runtime's; they are counted in sum.
	coroutines = newSite("runtime.corostart")
	stops      []func()
)

func init() {
	commands["pull"] = func(number, _ int) {
		for range make([]struct{}, number) {
			coroutines.begin()
			next, stop := iter.Pull(three)
			for _, more := next(); more; _, more = next() {
			}
			coroutines.done()
			stop()
		}
	}
	commands["pull-stop"] = func(number, _ int) {
		for range make([]struct{}, number) {
			coroutines.begin()
			next, stop := iter.Pull(three)
			next()
			stop()
			coroutines.done()
		}
	}
	commands["pull-unused"] = func(number, _ int) {
		for range make([]struct{}, number) {
			coroutines.begin()
			_, stop := iter.Pull(three)
			stop()
			coroutines.done()
		}
	}
	commands["pull-keep"] = func(number, _ int) {
		for range make([]struct{}, number) {
			coroutines.begin()
			next, stop := iter.Pull(three)
			next()
			stops = append(stops, stop)
		}
	}
	commands["pull-drop"] = func(int, int) {
		for _, stop := range stops {
			stop()
			coroutines.done()
		}
		stops = nil
	}
}

func three(yield func(int) bool) {
	for number := 0; number < 3; number++ {
		if !yield(number) {
			return
		}
	}
}
