package store

import (
	"context"
	"fmt"
	"strconv"
)

// Migration brings data from one format to the next. The n-th migration (from
// 0) leads from format n+1 to n+2. Each runs in a transaction of its own, that
// also records the new format.
type Migration struct {
	Name  string
	Apply func(*Tx) error
}

// migrate brings the data to the present format. An empty store has it already.
func (s *Store) migrate(ctx context.Context, migrations []Migration) error {
	present := 1 + len(migrations)
	for {
		var version int
		err := s.Update(ctx, func(tx *Tx) (err error) {
			if version, err = tx.format(present); err != nil {
				return err
			}
			switch {
			case version > present:
				return fmt.Errorf("data has format %d, this bundt knows up to %d: %w", version, present, ErrNewerFormat)
			case version == present:
				return tx.setFormat(version)
			}
			m := migrations[version-1]
			if err := m.Apply(tx); err != nil {
				return fmt.Errorf("migrating data to format %d (%s): %w", version+1, m.Name, err)
			}
			return tx.setFormat(version + 1)
		})
		if err != nil {
			return fmt.Errorf("checking the data's format: %w", err)
		}
		if version == present {
			return nil
		}
	}
}

// format returns the version of the data's format; an empty store takes that
// given.
func (tx *Tx) format(present int) (int, error) {
	data, err := tx.get(formatKey)
	if err != nil {
		return 0, err
	}
	if data != nil {
		version, err := strconv.Atoi(string(data))
		if err != nil || version < 1 {
			return 0, fmt.Errorf("%s holds %q, which is no version", formatKey, data)
		}
		return version, nil
	}
	return present, nil
}

// setFormat records the version unless it is recorded already.
func (tx *Tx) setFormat(version int) error {
	value := strconv.Itoa(version)
	if r := tx.reads[formatKey]; string(r.value) == value {
		return nil
	}
	return tx.put(formatKey, []byte(value))
}
