//go:build go1.25

package main

// A library that says `go` on behalf of others.

import "sync"

var grouped = newSite("sync.(*WaitGroup).Go")

func init() {
	commands["group"] = func(number, _ int) {
		var group sync.WaitGroup
		for range make([]struct{}, number) {
			grouped.begin()
			group.Go(grouped.done)
		}
		group.Wait()
	}
}
