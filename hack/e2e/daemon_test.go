//go:build vm

package e2e

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bundt/bundt/hack/harness"
	"github.com/bundt/bundt/images"
	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
)

// daemon is a bundtd that ends, with all it holds, when its test does.
type daemon struct{ *harness.Daemon }

func newDaemon(t *testing.T, change ...func(*harness.Options)) daemon {
	t.Helper()
	dir, err := os.MkdirTemp("", "bundt-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	o := harness.Options{Bin: bin, Dir: dir, Cache: cacheDir()}
	for _, c := range change {
		c(&o)
	}
	d, err := harness.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the daemon's log:\n%s", d.Log())
		}
		if err := d.Purge(); err != nil {
			t.Error(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := d.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return daemon{d}
}

func (d daemon) build(t *testing.T, recipe, arch string) string {
	t.Helper()
	fsys, err := images.FS(recipe)
	if err != nil {
		t.Fatal(err)
	}
	id, err := d.Build(t.Context(), fsys, arch)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func (d daemon) launch(t *testing.T, image, typ string, tags ...string) string {
	t.Helper()
	id, err := d.Launch(t.Context(), image, typ, "", tags...)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// cli runs bundt, which must succeed, and returns what it printed.
func (d daemon) cli(t *testing.T, args ...string) string {
	t.Helper()
	out, err := d.Bundt(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (d daemon) details(t *testing.T, id string) *bundttypes.InstanceDetails {
	t.Helper()
	out, err := d.Details(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (d daemon) instance(t *testing.T, id string) *ec2types.Instance {
	t.Helper()
	out, err := d.Instance(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (d daemon) console(ctx context.Context, id string) (string, error) {
	out, err := d.API.GetConsoleOutput(ctx, &ec2types.GetConsoleOutputInput{InstanceId: &id})
	if err != nil {
		return "", err
	}
	b, err := base64.StdEncoding.DecodeString(ec2types.Value(out.Output))
	return string(b), err
}

func (d daemon) available(t *testing.T, image string) {
	t.Helper()
	eventually(t, image+" is available", func() error {
		out, err := d.API.DescribeImages(t.Context(), &ec2types.DescribeImagesInput{ImageIds: []string{image}})
		if err == nil && *out.Images[0].State != "available" {
			err = fmt.Errorf("it is %s: %+v", *out.Images[0].State, out.Images[0].StateReason)
		}
		return err
	})
}

// nothingLeft checks that no machine, port or orphan of any kind is on the host.
func (d daemon) nothingLeft(t *testing.T) {
	t.Helper()
	eventually(t, "nothing is left", func() error {
		out, err := d.API.DescribeInventory(t.Context(), &bundttypes.DescribeInventoryInput{})
		if err != nil {
			return err
		}
		for _, i := range out.Items {
			if i.Orphan || i.Kind == bundttypes.InventoryProcess || i.Kind == "port" {
				return fmt.Errorf("left behind: %+v", i)
			}
		}
		return nil
	})
}

func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	must(t, harness.Until(t.Context(), 2*time.Minute, what, f))
}

// alive reports whether a process exists and is no zombie.
func alive(pid int32) bool {
	if syscall.Kill(int(pid), 0) != nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}
