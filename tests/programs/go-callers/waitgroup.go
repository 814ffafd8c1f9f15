//go:build go1.25

package main

import "sync"

var waiting sync.WaitGroup

//go:noinline
func crawlWaitgroup() { waiting.Go(func() { <-never }) }

//go:noinline
func indexWaitgroup() { waiting.Go(func() { <-never }) }

func init() {
	libraries["waitgroup"] = library{crawlWaitgroup, indexWaitgroup}
}
