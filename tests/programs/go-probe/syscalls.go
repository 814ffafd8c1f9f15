package main

import "syscall"

// Waits in a system call of its own, not in the runtime: nobody writes into that pipe.
func blockedInSyscall() {
	var ends [2]int
	if err := syscall.Pipe(ends[:]); err != nil {
		panic(err)
	}
	_, _ = syscall.Read(ends[0], make([]byte, 1))
}
