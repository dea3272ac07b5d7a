// Command gap runs in a guest: it writes 4 KiB and syncs, over and over, and
// prints how long each write took, in microseconds, one a line, when told to end.
package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
)

func main() {
	seconds, err := strconv.Atoi(os.Args[1])
	if err == nil {
		err = write(time.Duration(seconds) * time.Second)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gap:", err)
		os.Exit(1)
	}
}

func write(d time.Duration) error {
	f, err := os.Create("/root/gap.data")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	block := make([]byte, 4096)
	var took []time.Duration
	for end := time.Now().Add(d); time.Now().Before(end); {
		start := time.Now()
		if _, err := f.WriteAt(block, int64(len(took)%1024)*4096); err != nil {
			return err
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			return err
		}
		took = append(took, time.Since(start))
	}
	w := bufio.NewWriter(os.Stdout)
	for _, t := range took {
		fmt.Fprintln(w, t.Microseconds())
	}
	return w.Flush()
}
