package main

import (
	"encoding/binary"
	"io"
	"net"
)

// A server on loopback, each of whose connections is a goroutine, and its client.

func startServer() string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go accept(listener)
	return listener.Addr().String()
}

func accept(listener net.Listener) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			panic(err)
		}
		go serveConnection(connection)
	}
}

func serveConnection(connection net.Conn) {
	defer connection.Close()
	var request [8]byte
	if _, err := io.ReadFull(connection, request[:]); err != nil {
		return
	}
	fate(binary.LittleEndian.Uint64(request[:])).meet()
	// The client may be gone.
	_, _ = connection.Write([]byte("ok"))
}

// A request of this fate; the answer is not waited for.
func ask(address string, fate fate) {
	connection, err := net.Dial("tcp", address)
	if err != nil {
		panic(err)
	}
	var request [8]byte
	binary.LittleEndian.PutUint64(request[:], uint64(fate))
	if _, err := connection.Write(request[:]); err != nil {
		panic(err)
	}
	_ = connection.Close()
}
