// A web server of the standard library, as people write them. It says its port on stdout as one line of JSON, and again for each
// line on stdin; the end of stdin ends it.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"
)

// An order, as a service would keep it.
type order struct {
	ID       int       `json:"id"`
	Customer string    `json:"customer"`
	Placed   time.Time `json:"placed"`
	Articles []string  `json:"articles"`
	Total    float64   `json:"total"`
}

func main() {
	http.HandleFunc("/hello", func(answer http.ResponseWriter, _ *http.Request) {
		_, _ = answer.Write([]byte("hello\n"))
	})
	http.HandleFunc("/orders", func(answer http.ResponseWriter, _ *http.Request) {
		answer.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(answer).Encode(orders(40))
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go func() { panic(http.Serve(listener, nil)) }()
	say := func() { fmt.Printf("{\"port\":%d}\n", listener.Addr().(*net.TCPAddr).Port) }
	say()
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		say()
	}
}

func orders(number int) []order {
	all := make([]order, number)
	for index := range all {
		all[index] = order{
			ID:       index,
			Customer: fmt.Sprintf("customer %d", index%7),
			Placed:   time.Unix(1700000000+int64(index), 0).UTC(),
			Articles: []string{"a lamp", "a chair", "a table"},
			Total:    12.5 * float64(index),
		}
	}
	return all
}
