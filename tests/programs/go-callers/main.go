// A program whose goroutines are all begun by libraries, on behalf of two of its functions. Commands come on stdin, one a line:
// `crawl LIBRARY N`, `index LIBRARY N`, `end`. Each is answered by one line of JSON: how many each function has asked each
// library for. The end of stdin ends the program.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"
)

// What libraries are asked for a goroutine: by a function of this program, which is why they are not shared.
type library struct {
	crawl, index func()
}

var libraries = map[string]library{
	"errgroup": {crawlErrgroup, indexErrgroup},
	"context":  {crawlContext, indexContext},
}

var asked = map[string]int{}

var never = make(chan struct{})

func wait() error {
	<-never
	return nil
}

var group errgroup.Group

//go:noinline
func crawlErrgroup() { group.Go(wait) }

//go:noinline
func indexErrgroup() {
	if !group.TryGo(wait) {
		panic("no room in the group")
	}
	group.Go(wait)
}

// A context of our own: the standard library watches it by a goroutine for each child.
type foreign struct{ context.Context }

func (foreign) Done() <-chan struct{} { return never }

var cancels []context.CancelFunc

//go:noinline
func crawlContext() {
	_, cancel := context.WithCancel(foreign{context.Background()})
	cancels = append(cancels, cancel)
}

//go:noinline
func indexContext() {
	_, cancel := context.WithCancel(foreign{context.Background()})
	cancels = append(cancels, cancel)
}

func answer() {
	var texts []string
	for what, number := range asked {
		texts = append(texts, fmt.Sprintf("%q:%d", what, number))
	}
	fmt.Printf("{\"pid\":%d,\"phase\":\"asked\",\"spawned\":0,\"finished\":0,\"live\":0,\"asked\":{%s}}\n", os.Getpid(), strings.Join(texts, ","))
}

func main() {
	answer()
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if words[0] == "end" {
			close(never)
			answer()
			continue
		}
		of, number := libraries[words[1]], 0
		number, _ = strconv.Atoi(words[2])
		for ; number > 0; number-- {
			if words[0] == "crawl" {
				of.crawl()
			} else {
				of.index()
			}
			asked["main."+words[0]+strings.Title(words[1])]++
		}
		answer()
	}
}
