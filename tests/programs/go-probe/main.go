// A program that counts its own goroutines. Commands come on stdin, one a line; each is answered, once the program stands
// still again, by one line of JSON on stdout: what this program knows about itself. The end of stdin ends the program.
package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
)

var commands = map[string]func(number, second int){
	"start": func(int, int) {},
	"truth": func(int, int) {},
}

func main() {
	answer("start")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) == 0 {
			continue
		}
		command, known := commands[words[0]]
		if !known {
			fmt.Printf("{\"error\":\"unknown command %s\"}\n", words[0])
			continue
		}
		command(argument(words, 1), argument(words, 2))
		answer(words[0])
	}
	os.Exit(0)
}

func argument(words []string, index int) int {
	if index >= len(words) {
		return 1
	}
	number, err := strconv.Atoi(words[index])
	if err != nil {
		return 1
	}
	return number
}
