package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The test binary runs itself as a writer that is killed or starved.
const (
	envRole = "BUNDT_STORE_TEST_ROLE"
	envDir  = "BUNDT_STORE_TEST_DIR"
)

func TestMain(m *testing.M) {
	switch os.Getenv(envRole) {
	case "writer":
		fmt.Println(writeForever(os.Getenv(envDir)))
		os.Exit(1)
	case "starved":
		fmt.Println(writeUntilFull(os.Getenv(envDir)))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func self(t *testing.T, role, dir string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), envRole+"="+role, envDir+"="+dir)
	return cmd
}

// writeForever writes pairs of objects in one transaction each and tells of each
// after it was acknowledged.
func writeForever(dir string) error {
	s, err := Open(context.Background(), Options{Dir: dir})
	if err != nil {
		return err
	}
	for {
		var n int
		err := s.Update(context.Background(), func(tx *Tx) error {
			last, err := things.Get(tx, "last")
			if err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
			n = last.N + 1
			return errors.Join(
				things.Put(tx, &thing{"last", n}),
				things.Put(tx, &thing{fmt.Sprintf("n/%08d", n), n}))
		})
		if err != nil {
			return err
		}
		fmt.Println(n)
	}
}

// TestKill kills a writer at random moments, again and again on the same data,
// and checks that everything acknowledged is there and that no transaction is
// there by half.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	rounds := 8
	if testing.Short() {
		rounds = 2
	}
	for round := range rounds {
		acknowledged := killWriter(t, dir, time.Duration(rand.IntN(250))*time.Millisecond)
		s, err := Open(t.Context(), Options{Dir: dir})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		err = s.View(t.Context(), func(tx *Tx) error {
			last, err := things.Get(tx, "last")
			if err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
			all, err := things.ListPrefix(tx, "n/")
			if err != nil || len(all) != last.N || last.N < acknowledged {
				return fmt.Errorf("%d acknowledged, last is %d, %d objects, %w", acknowledged, last.N, len(all), err)
			}
			return nil
		})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		closeStore(t, s)
	}
}

// killWriter runs a writer, kills it some time after its first write, and
// returns the last number that it acknowledged.
func killWriter(t *testing.T, dir string, after time.Duration) int {
	t.Helper()
	cmd := self(t, "writer", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	last := 0
	for first := true; ; first = false {
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			break // what comes after the kill without a newline is not whole
		}
		n, errNumber := strconv.Atoi(strings.TrimSpace(line))
		if err != nil || errNumber != nil {
			t.Fatalf("the writer said %q, %v", line, err)
		}
		last = n
		if first {
			time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
		}
	}
	_ = cmd.Wait() // it was killed
	return last
}

// writeUntilFull writes until the limit on the size of files stops etcd, and
// checks that this is an error and not the end of the process.
func writeUntilFull(dir string) string {
	signal.Ignore(syscall.SIGXFSZ)
	limit := &unix.Rlimit{Cur: 70 << 20, Max: 70 << 20}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, limit); err != nil {
		return err.Error()
	}
	s, err := Open(context.Background(), Options{Dir: dir})
	if err != nil {
		return err.Error()
	}
	big := record{Data: strings.Repeat("x", 1<<20)}
	for i := range 500 {
		big.ID = fmt.Sprint(i)
		err := s.Update(context.Background(), func(tx *Tx) error { return records.Put(tx, &big) })
		if err == nil {
			continue
		}
		<-s.Failed()
		start := time.Now()
		_ = s.Close() // returns the failure
		switch {
		case !errors.Is(err, ErrFailed) && !errors.Is(err, ErrNoSpace), s.Err() == nil:
			return fmt.Sprintf("update: %v; store: %v", err, s.Err())
		case time.Since(start) > stopTimeout/2:
			return "closing took too long"
		}
		return "failed as it should"
	}
	return "never failed"
}

func TestDiskFull(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 100 MiB")
	}
	dir := t.TempDir()
	out, err := self(t, "starved", dir).CombinedOutput()
	if err != nil || !strings.HasSuffix(strings.TrimSpace(string(out)), "failed as it should") {
		t.Fatalf("%v\n%s", err, out)
	}
	s := open(t, Options{Dir: dir})
	if err := s.View(t.Context(), func(tx *Tx) error { _, err := records.Get(tx, "0"); return err }); err != nil {
		t.Errorf("after the failure: %v", err)
	}
}
