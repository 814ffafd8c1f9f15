// Plays a schedule with goroutines: `corpus-go FILE`. A line of it is `MICROSECONDS SITE COUNT FATE`: so long after the start,
// so many goroutines at this site, each of which lives for so many microseconds, is "held", or is "lost". The first that is
// lost at a site is told on stdout. The program ends with the line "MICROSECONDS end 0 0".
package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

func main() {
	file, err := os.Open(os.Args[1])
	if err != nil {
		panic(err)
	}
	address := startServer()
	begun := time.Now()
	told := map[string]bool{}
	for lines := bufio.NewScanner(file); lines.Scan(); {
		words := strings.Split(lines.Text(), " ")
		micros, site, count, fate := integer(words[0]), words[1], integer(words[2]), fateOf(words[3])
		time.Sleep(time.Until(begun.Add(time.Duration(micros) * time.Microsecond)))
		if site == "end" {
			break
		}
		if fate == lost && !told[site] {
			told[site] = true
			now := float64(time.Now().UnixMilli()) / 1000
			fmt.Printf("{\"pid\":%d,\"site\":\"%s\",\"began\":%.3f}\n", os.Getpid(), name(site), now)
		}
		for ; count > 0; count-- {
			if site == "serve_connection" {
				ask(address, fate)
			} else {
				spawn(site, fate)
			}
		}
	}
	// The goroutines are not waited for.
}

func integer(text string) int64 {
	number, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		panic(err)
	}
	return number
}
