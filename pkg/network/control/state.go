package control

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/bundt/bundt/pkg/network"
)

// state is what the switch needs to come back as it was. It holds user data
// and the secret of metadata tokens: mode 0600.
type state struct {
	Secret []byte               `json:"secret"`
	Config *network.Config      `json:"config,omitempty"`
	Leases map[string]time.Time `json:"leases,omitempty"`
}

// loadState reads the file; of one that does not exist it makes a new state.
func loadState(path string) (*state, error) {
	s := &state{}
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("reading the switch's state: %w", err)
	default:
		if err := json.Unmarshal(b, s); err != nil {
			return nil, fmt.Errorf("reading the switch's state %s: %w; the daemon gives it anew if you move the file away", path, err)
		}
	}
	if len(s.Secret) == 0 {
		s.Secret = make([]byte, 32)
		rand.Read(s.Secret) // never fails (crypto/rand)
	}
	return s, nil
}

// save replaces the file whole, so that a crash leaves the old or the new one.
func (s *state) save(path string) error {
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encoding the switch's state: %w", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // 0600
	if err != nil {
		return fmt.Errorf("saving the switch's state: %w", err)
	}
	defer os.Remove(tmp.Name()) // gone after the rename
	_, err = tmp.Write(b)
	if err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("saving the switch's state: %w", err)
	}
	return nil
}

// Ports tells how many ports the last configuration in a state file has, and if
// there is such a file.
func Ports(stateFile string) (n int, exists bool, err error) {
	if _, err := os.Stat(stateFile); errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	s, err := loadState(stateFile)
	if err != nil {
		return 0, true, err
	}
	if s.Config != nil {
		n = len(s.Config.Ports)
	}
	return n, true, nil
}
