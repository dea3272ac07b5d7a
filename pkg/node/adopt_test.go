package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	fakehv "github.com/bundt/bundt/pkg/hypervisor/fake"
	"github.com/bundt/bundt/pkg/model"
)

// What a foreign machine's disk says counts only while nobody writes to it.
func TestForeignState(t *testing.T) {
	host := fakehv.NewHost()
	n := &Node{Options: Options{Driver: fakehv.New(host)}}
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	m := model.ForeignMachine{Name: "mail", UUID: "u-1", Arch: model.X8664, Disks: []model.ForeignDisk{{Name: "vda", Path: path, Format: model.FormatRaw}}}
	host.SetForeign(m)
	task := &model.ImportTask{Domain: m.UUID, Disks: []model.ImportDisk{{File: path}}}
	unchanged, err := n.foreignState(t.Context(), task, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unchanged(); err != nil {
		t.Errorf("untouched: %v", err)
	}
	if err := os.WriteFile(path, []byte("other"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unchanged(); err == nil || !strings.Contains(err.Error(), "written to") {
		t.Errorf("written to: %v", err)
	}
	task.Disks[0].File = filepath.Dir(path)
	if _, err := n.foreignState(t.Context(), task, 0); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a directory: %v", err)
	}
	m.Running = true
	host.SetForeign(m)
	if _, err := n.foreignState(t.Context(), task, 0); err == nil || !strings.Contains(err.Error(), "was started") {
		t.Errorf("running: %v", err)
	}
	if _, err := n.Foreign(t.Context(), "nobody"); model.CodeOf(err) != model.CodeInvalidParameterValue {
		t.Errorf("no such domain: %v", err)
	}
}
