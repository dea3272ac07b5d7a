// Command ledger is the database of the test that no committed row is lost: it
// commits numbered rows to the disk, one transaction each, and says so afterwards.
//
//	ledger serve FILE PORT   for each line that a client sends: commit a row, answer its number
//	ledger check FILE        verify every row, and print the number of the last one
//
// It runs in guests, and imports nothing of bundt.
package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"go.etcd.io/bbolt"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "ledger:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 3 && args[0] == "serve":
		return serve(args[1], args[2])
	case len(args) == 2 && args[0] == "check":
		l, err := open(args[1])
		if err != nil {
			return err
		}
		last, err := l.verify()
		if err == nil {
			fmt.Println(last)
		}
		return errors.Join(err, l.db.Close())
	}
	return errors.New("usage: ledger serve FILE PORT | ledger check FILE")
}

// ledger is a database of rows 1, 2, 3, ….
type ledger struct{ db *bbolt.DB }

var rows = []byte("rows")

func open(path string) (*ledger, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(rows)
		return err
	})
	return &ledger{db}, err
}

// commit adds a row and returns its number when it is on the disk.
func (l *ledger) commit() (n uint64, err error) {
	err = l.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(rows)
		if n, err = b.NextSequence(); err != nil {
			return err
		}
		return b.Put(key(n), row(n))
	})
	return n, err
}

// verify returns the number of the last row, if all up to it are there and whole.
func (l *ledger) verify() (last uint64, err error) {
	err = l.db.View(func(tx *bbolt.Tx) error {
		for err := range tx.Check() {
			return fmt.Errorf("the file is damaged: %w", err)
		}
		c := tx.Bucket(rows).Cursor()
		for k, v := c.First(); k != nil; k, v = c.Next() {
			last++
			if !bytes.Equal(k, key(last)) || !bytes.Equal(v, row(last)) {
				return fmt.Errorf("row %d is not as it was written", last)
			}
		}
		return nil
	})
	return last, err
}

func key(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// row is what row n holds: nothing that could come from another row.
func row(n uint64) []byte {
	sum := sha256.Sum256(key(n))
	return bytes.Repeat(sum[:], 8)
}

// serve commits a row for each line of each client.
func serve(path, port string) error {
	l, err := open(path)
	if err != nil {
		return err
	}
	if _, err := l.verify(); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", ":"+port)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			return fmt.Errorf("accepting: %w", err)
		}
		go l.answer(conn)
	}
}

func (l *ledger) answer(conn net.Conn) {
	defer conn.Close()
	for in := bufio.NewScanner(conn); in.Scan(); {
		n, err := l.commit()
		if err != nil {
			fmt.Fprintln(os.Stderr, "ledger:", err)
			return // without an answer
		}
		if _, err := fmt.Fprintln(conn, n); err != nil {
			return
		}
	}
}
