package inventory

import (
	"encoding/binary"
	"errors"
	"fmt"
)

var be = binary.BigEndian

// errDatabase is of a database that is not as it should be.
var errDatabase = errors.New("damaged database")

// sqlite reads tables of an SQLite database (https://www.sqlite.org/fileformat2.html):
// what rpm needs of it. It is read as a connection would read it, with the transactions
// that are in its write-ahead log; what is uncommitted there is not seen.
type sqlite struct {
	db     []byte
	page   int
	usable int            // bytes of a page
	newer  map[int][]byte // pages in the log
}

const (
	sqliteMagic  = "SQLite format 3\x00"
	sqliteHeader = 100
	maxLevels    = 16
	maxValue     = 16 << 20
)

func openSqlite(db, wal []byte) (*sqlite, error) {
	if len(db) < sqliteHeader || string(db[:len(sqliteMagic)]) != sqliteMagic {
		return nil, fmt.Errorf("%w: it is not one of SQLite", errDatabase)
	}
	s := &sqlite{db: db, page: int(be.Uint16(db[16:])), newer: map[int][]byte{}}
	if s.page == 1 {
		s.page = 1 << 16
	}
	s.usable = s.page - int(db[20])
	if s.page < 512 || s.page&(s.page-1) != 0 || s.usable < 480 {
		return nil, fmt.Errorf("%w: pages of %d bytes", errDatabase, s.page)
	}
	s.readLog(wal)
	return s, nil
}

// readLog finds the last copies of pages that were committed.
func (s *sqlite) readLog(wal []byte) {
	const header, frame = 32, 24
	if len(wal) < header || be.Uint32(wal)&^1 != 0x377f0682 || int(be.Uint32(wal[8:])) != s.page {
		return
	}
	order := binary.ByteOrder(binary.LittleEndian)
	if be.Uint32(wal)&1 != 0 {
		order = be
	}
	var sum [2]uint32
	add := func(b []byte) {
		for ; len(b) >= 8; b = b[8:] {
			sum[0] += order.Uint32(b) + sum[1]
			sum[1] += order.Uint32(b[4:]) + sum[0]
		}
	}
	matches := func(at []byte) bool { return be.Uint32(at) == sum[0] && be.Uint32(at[4:]) == sum[1] }
	if add(wal[:24]); !matches(wal[24:]) {
		return
	}
	salt, open := string(wal[16:24]), map[int][]byte{}
	for b := wal[header:]; len(b) >= frame+s.page; b = b[frame+s.page:] {
		add(b[:8])
		add(b[frame:][:s.page])
		if string(b[8:16]) != salt || !matches(b[16:]) {
			return
		}
		open[int(be.Uint32(b))] = b[frame:][:s.page]
		if be.Uint32(b[4:]) != 0 { // it ends a transaction
			for n, content := range open {
				s.newer[n] = content
			}
			clear(open)
		}
	}
}

func (s *sqlite) read(n int) ([]byte, error) {
	if b := s.newer[n]; b != nil {
		return b, nil
	}
	if n < 1 || n > len(s.db)/s.page {
		return nil, fmt.Errorf("%w: there is no page %d", errDatabase, n)
	}
	return s.db[(n-1)*s.page:][:s.page], nil
}

// rows calls fn with the columns of each row of a table, of which texts and blobs are
// given and others are nil.
func (s *sqlite) rows(table string, fn func(columns [][]byte) error) error {
	root, found := 0, false
	err := s.tree(1, 0, func(payload []byte) error {
		columns, number, err := values(payload, 3)
		if err == nil && len(columns) > 3 && string(columns[0]) == "table" && string(columns[1]) == table {
			root, found = int(number), true
		}
		return err
	})
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("%w: it has no table %s", errDatabase, table)
	}
	return s.tree(root, 0, func(payload []byte) error {
		columns, _, err := values(payload, -1)
		if err != nil {
			return err
		}
		return fn(columns)
	})
}

// tree calls fn for what is in a tree of a table, in the order of its rows.
func (s *sqlite) tree(n, level int, fn func(payload []byte) error) error {
	const leaf, interior = 0x0d, 0x05
	b, err := s.read(n)
	if err != nil {
		return err
	}
	at := 0
	if n == 1 {
		at = sqliteHeader
	}
	cells, kind := int(be.Uint16(b[at+3:])), b[at]
	header := at + 8
	if kind == interior {
		header += 4
	}
	if (kind != leaf && kind != interior) || level > maxLevels || header+2*cells > len(b) {
		return fmt.Errorf("%w: page %d is of no table", errDatabase, n)
	}
	for i := range cells {
		cell := int(be.Uint16(b[header+2*i:]))
		if cell+4 > s.usable {
			return fmt.Errorf("%w: a cell of page %d is at byte %d", errDatabase, n, cell)
		}
		if kind == interior {
			err = s.tree(int(be.Uint32(b[cell:])), level+1, fn)
		} else {
			var payload []byte
			if payload, err = s.payload(b[cell:s.usable]); err == nil {
				err = fn(payload)
			}
		}
		if err != nil {
			return err
		}
	}
	if kind == interior {
		return s.tree(int(be.Uint32(b[at+8:])), level+1, fn)
	}
	return nil
}

// payload is what a row has, of which the rest may be in further pages.
func (s *sqlite) payload(cell []byte) ([]byte, error) {
	size, n := varint(cell)
	_, m := varint(cell[n:])
	if n == 0 || m == 0 || size > maxValue {
		return nil, fmt.Errorf("%w: a row of %d bytes", errDatabase, size)
	}
	cell = cell[n+m:]
	local, most := int(size), s.usable-35
	if local > most {
		least := (s.usable-12)*32/255 - 23
		if local = least + (int(size)-least)%(s.usable-4); local > most {
			local = least
		}
	}
	if local > len(cell) || (local < int(size) && local+4 > len(cell)) {
		return nil, fmt.Errorf("%w: a row is cut off", errDatabase)
	}
	out := append(make([]byte, 0, size), cell[:local]...)
	if len(out) == int(size) {
		return out, nil
	}
	for next := int(be.Uint32(cell[local:])); len(out) < int(size); {
		b, err := s.read(next)
		if err != nil {
			return nil, err
		}
		next = int(be.Uint32(b))
		out = append(out, b[4:4+min(s.usable-4, int(size)-len(out))]...)
	}
	return out, nil
}

// values splits a record into its columns, and reads one of them as a number.
func values(b []byte, numbered int) (columns [][]byte, number int64, err error) {
	header, n := varint(b)
	if n == 0 || header < uint64(n) || header > uint64(len(b)) {
		return nil, 0, fmt.Errorf("%w: a record with a header of %d bytes", errDatabase, header)
	}
	types, rest := b[n:header], b[header:]
	for len(types) > 0 {
		kind, n := varint(types)
		if n == 0 {
			return nil, 0, fmt.Errorf("%w: a record is cut off", errDatabase)
		}
		types = types[n:]
		size := uint64(0)
		if kind < 10 {
			size = []uint64{0, 1, 2, 3, 4, 6, 8, 8, 0, 0}[kind]
		} else if kind >= 12 {
			size = (kind - 12) / 2
		}
		if size > uint64(len(rest)) {
			return nil, 0, fmt.Errorf("%w: a value of %d bytes in a record", errDatabase, size)
		}
		if len(columns) == numbered {
			if kind == 9 {
				number = 1
			}
			for _, digit := range rest[:size] {
				number = number<<8 | int64(digit)
			}
		}
		if kind >= 12 {
			columns = append(columns, rest[:size])
		} else {
			columns = append(columns, nil)
		}
		rest = rest[size:]
	}
	return columns, number, nil
}

// varint reads a number of up to nine bytes, and says how many; 0 if it is cut off.
func varint(b []byte) (v uint64, n int) {
	for ; n < len(b) && n < 8; n++ {
		v = v<<7 | uint64(b[n]&0x7f)
		if b[n] < 0x80 {
			return v, n + 1
		}
	}
	if n == 8 && len(b) > 8 {
		return v<<8 | uint64(b[8]), 9
	}
	return 0, 0
}
