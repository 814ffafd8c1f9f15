package main

import (
	"fmt"
	"path/filepath"
	"reflect"
	"runtime"
	"strconv"
	"strings"
)

// The sites: each has a go statement and a function of its own.

func handleRequest(fate fate) { fate.meet() }
func refreshCache(fate fate)  { fate.meet() }
func runJob(fate fate)        { fate.meet() }
func keepAlive(fate fate)     { fate.meet() }

func spawn(site string, fate fate) {
	switch site {
	case "handle_request":
		go handleRequest(fate)
	case "refresh_cache":
		go refreshCache(fate)
	case "run_job":
		go runJob(fate)
	case "keep_alive":
		go keepAlive(fate)
	default:
		crowds[number(site)](fate)
	}
}

// What a site is called in this program: the function that is started or, of the crowd, where it is started.
func name(site string) string {
	switch site {
	case "serve_connection":
		return "main.serveConnection"
	case "handle_request":
		return "main.handleRequest"
	case "refresh_cache":
		return "main.refreshCache"
	case "run_job":
		return "main.runJob"
	case "keep_alive":
		return "main.keepAlive"
	}
	starts := reflect.ValueOf(crowds[number(site)]).Pointer()
	file, line := runtime.FuncForPC(starts).FileLine(starts)
	return fmt.Sprintf("%s:%d", filepath.Base(file), line)
}

func number(site string) int {
	number, err := strconv.Atoi(strings.TrimPrefix(site, "crowd_"))
	if err != nil {
		panic(site)
	}
	return number
}
