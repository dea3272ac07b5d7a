package cloud_test

import (
	"errors"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

const (
	testAccount = "111122223333"
	testType    = "b1.pico"
	roomFor     = 20 // instances of testType, on its node
	hostAddress = "192.0.2.10"
)

// room is a cloud with one node and one image that boots nothing.
func room(t *testing.T, quotas map[model.Quota]int64) (*cloud.Account, *store.Store, string) {
	t.Helper()
	s, err := store.Open(t.Context(), store.Options{Dir: filepath.Join(t.TempDir(), "etcd"), Migrations: cloud.Migrations()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	c, err := cloud.New(t.Context(), cloud.Options{
		Store: s, Region: "local-1", PublicPool: netip.MustParsePrefix("127.77.0.0/16"), HostAddresses: []netip.Addr{netip.MustParseAddr(hostAddress)},
	})
	if err != nil {
		t.Fatal(err)
	}
	typ, _ := model.InstanceTypeByName(testType)
	image := model.Image{
		ID: model.NewID(model.ImagePrefix), OwnerID: testAccount, State: model.ImageAvailable, Arch: model.X8664, RootDevice: "/dev/sda1",
		BlockDevices: []model.BlockDevice{{Device: "/dev/sda1", SizeGiB: 1, DeleteOnTermination: true}}, // blank
	}
	err = s.Update(t.Context(), func(tx *store.Tx) error {
		return errors.Join(
			records.Accounts.Put(tx, &model.Account{ID: testAccount, Quotas: quotas}),
			records.Nodes.Put(tx, &model.Node{ID: "node-1", Archs: []model.Arch{model.X8664}, VCPUs: 2, MemoryMiB: roomFor * typ.MemoryMiB}),
			records.Images.Put(tx, &image),
		)
	})
	if err != nil {
		t.Fatal(err)
	}
	return c.Account(testAccount), s, image.ID
}

// crowd launches by many callers at once and returns how many instances there are.
func crowd(t *testing.T, a *cloud.Account, image, refusal string) int {
	t.Helper()
	const callers = 16
	var launched, refused atomic.Int64
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for range 4 {
				_, err := a.Run(t.Context(), cloud.Launch{ImageID: image, Type: testType, MinCount: 1, MaxCount: 1})
				var e *model.Error
				switch {
				case err == nil:
					launched.Add(1)
				case errors.As(err, &e) && e.Code == refusal:
					refused.Add(1)
				default:
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if refused.Load() == 0 {
		t.Error("nothing was refused")
	}
	return int(launched.Load())
}

// However many launch at once, no more fit than there is room for, and no fewer;
// what ends makes room.
func TestLaunchesFillANodeExactly(t *testing.T) {
	a, s, image := room(t, nil)
	if n := crowd(t, a, image, model.CodeInsufficientCapacity); n != roomFor {
		t.Fatalf("%d instances fit, there is room for %d", n, roomFor)
	}
	insts, err := a.FindInstances(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Terminate(t.Context(), []string{insts[0].ID}); err != nil {
		t.Fatal(err)
	}
	err = s.Update(t.Context(), func(tx *store.Tx) error { // as the node does at the end
		i, err := records.Instances.Get(tx, insts[0].ID)
		if err != nil {
			return err
		}
		i.State = model.InstanceTerminated
		return records.Instances.Put(tx, &i)
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := crowd(t, a, image, model.CodeInsufficientCapacity); n != 1 {
		t.Errorf("%d instances fit in the place of one", n)
	}
}

func TestLaunchesFillQuotasExactly(t *testing.T) {
	for quota, code := range map[model.Quota]string{
		model.QuotaInstances: "InstanceLimitExceeded", model.QuotaVCPUs: "VcpuLimitExceeded",
	} {
		t.Run(string(quota), func(t *testing.T) {
			a, _, image := room(t, map[model.Quota]int64{quota: 7})
			if n := crowd(t, a, image, code); n != 7 {
				t.Errorf("%d instances of one vCPU were launched, the quota is 7", n)
			}
		})
	}
}

// A call that starts several instances counts each.
func TestStartsFitTogether(t *testing.T) {
	a, s, image := room(t, nil)
	made, err := a.Run(t.Context(), cloud.Launch{ImageID: image, Type: testType, MinCount: roomFor, MaxCount: roomFor})
	if err != nil {
		t.Fatal(err)
	}
	var stopped []string
	err = s.Update(t.Context(), func(tx *store.Tx) error {
		stopped = nil
		for _, i := range made[:3] {
			i.State, i.Desired = model.InstanceStopped, model.InstanceStopped
			i.Volumes = []model.InstanceVolume{{VolumeID: "vol-0", Device: i.RootDevice}}
			if err := records.Instances.Put(tx, &i); err != nil {
				return err
			}
			stopped = append(stopped, i.ID)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Run(t.Context(), cloud.Launch{ImageID: image, Type: testType, MinCount: 1, MaxCount: 1}); err != nil {
		t.Fatal(err)
	}
	var e *model.Error
	if _, err := a.Start(t.Context(), stopped); !errors.As(err, &e) || e.Code != model.CodeInsufficientCapacity {
		t.Fatalf("three start in the room of two: %v", err)
	}
	if _, err := a.Start(t.Context(), stopped[:2]); err != nil {
		t.Error(err)
	}
	if _, err := a.Start(t.Context(), stopped[2:]); !errors.As(err, &e) || e.Code != model.CodeInsufficientCapacity {
		t.Errorf("one more starts: %v", err)
	}
}
