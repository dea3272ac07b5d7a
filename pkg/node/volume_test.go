package node_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/hypervisor"
	fakehv "github.com/bundt/bundt/pkg/hypervisor/fake"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

func (w *world) newVolume(size int64, snapshot string) model.Volume {
	w.t.Helper()
	var v model.Volume
	w.eventually("accept a volume", func() (err error) {
		v, err = w.cloud.CreateVolume(w.t.Context(), cloud.VolumeRequest{Zone: w.cloud.Zone(), SizeGiB: size, SnapshotID: snapshot})
		return err
	})
	return w.volumeIs(v.ID, model.VolumeAvailable)
}

func (w *world) volumeIs(id string, state model.VolumeState) (v model.Volume) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("%s becomes %s", id, state), func() (err error) {
		v, err = w.cloud.Volume(w.t.Context(), id)
		if err == nil && v.State != state {
			err = fmt.Errorf("it is %s", v.State)
		}
		return err
	})
	return v
}

func (w *world) attach(volume, instance, device string) {
	w.t.Helper()
	if _, err := w.cloud.AttachVolume(w.t.Context(), volume, instance, device); err != nil {
		w.t.Fatal(err)
	}
	w.attachmentIs(volume, model.Attached)
}

func (w *world) attachmentIs(id string, state model.AttachmentState) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("the attachment of %s becomes %s", id, state), func() error {
		v, err := w.cloud.Volume(w.t.Context(), id)
		switch {
		case err != nil:
			return err
		case v.Attachment == nil:
			return errors.New("there is none")
		case v.Attachment.State != state:
			return fmt.Errorf("it is %s", v.Attachment.State)
		}
		return nil
	})
}

func (w *world) completed(id string) (s model.Snapshot) {
	w.t.Helper()
	w.eventually(id+" is completed", func() (err error) {
		s, err = w.cloud.Snapshot(w.t.Context(), id)
		if err == nil && s.State != model.SnapshotCompleted {
			err = fmt.Errorf("it is %s: %s", s.State, s.StateReason.Message)
		}
		return err
	})
	return s
}

func holding(hypervisor.Spec) fakehv.Guest {
	return fakehv.Guest{ShutdownTime: time.Millisecond, Holds: true}
}

// A guest that holds its disk makes the detachment busy; it goes on when the
// guest lets go.
func TestBusyDetachment(t *testing.T) {
	w := newWorld(t)
	w.stop()
	w.host.GuestFor = holding
	w.start()
	inst := w.run(w.build().ID)
	w.wait(inst.ID, model.InstanceRunning)
	vol := w.newVolume(1, "")
	w.attach(vol.ID, inst.ID, "/dev/sdf")
	if _, err := w.cloud.DetachVolume(t.Context(), cloud.Detachment{VolumeID: vol.ID}); err != nil {
		t.Fatal(err)
	}
	w.attachmentIs(vol.ID, model.Busy)
	if _, err := w.cloud.DetachVolume(t.Context(), cloud.Detachment{VolumeID: vol.ID}); model.CodeOf(err) != model.CodeIncorrectState {
		t.Errorf("detaching again: %v", err)
	}
	if err := w.host.LetGo(inst.ID); err != nil {
		t.Fatal(err)
	}
	w.volumeIs(vol.ID, model.VolumeAvailable)
}

// By force a volume is taken from a guest that holds it.
func TestForcedDetachment(t *testing.T) {
	w := newWorld(t)
	w.stop()
	w.host.GuestFor = holding
	w.start()
	inst := w.run(w.build().ID)
	w.wait(inst.ID, model.InstanceRunning)
	for name, first := range map[string]bool{"at once": true, "after it was asked": false} {
		vol := w.newVolume(1, "")
		w.attach(vol.ID, inst.ID, "/dev/sdf")
		if _, err := w.cloud.DetachVolume(t.Context(), cloud.Detachment{VolumeID: vol.ID, Force: first}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !first {
			w.attachmentIs(vol.ID, model.Busy)
			if _, err := w.cloud.DetachVolume(t.Context(), cloud.Detachment{VolumeID: vol.ID, Force: true}); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		w.volumeIs(vol.ID, model.VolumeAvailable)
		if spec, _ := w.host.Spec(inst.ID); len(spec.Disks) != 1 {
			t.Errorf("%s: the machine still has %d disks", name, len(spec.Disks))
		}
	}
}

// A deleted volume's snapshots keep its content, and no more.
func TestDeletedVolumeLeavesItsSnapshots(t *testing.T) {
	w := newWorld(t)
	vol := w.newVolume(1, "")
	snap, err := w.cloud.CreateSnapshot(t.Context(), cloud.SnapshotRequest{VolumeID: vol.ID})
	if err != nil {
		t.Fatal(err)
	}
	// At once: the node takes the snapshot first.
	if err := w.cloud.DeleteVolume(t.Context(), vol.ID); err != nil {
		t.Fatal(err)
	}
	if got := w.completed(snap.ID); got.Consistency != model.ConsistencyStopped {
		t.Errorf("consistency %q", got.Consistency)
	}
	w.clean(1)
	restored := w.newVolume(2, snap.ID)
	if err := w.cloud.DeleteSnapshot(t.Context(), snap.ID); err != nil {
		t.Fatal(err)
	}
	w.clean(2) // the frozen layer stays below the volume
	if err := w.cloud.DeleteVolume(t.Context(), restored.ID); err != nil {
		t.Fatal(err)
	}
	w.clean(0)
}

// Another account sees what is shared with it, and nothing else.
func TestSharedSnapshot(t *testing.T) {
	w := newWorld(t)
	other := w.cloud.Account("210987654321")
	snap, err := w.cloud.CreateSnapshot(t.Context(), cloud.SnapshotRequest{VolumeID: w.newVolume(1, "").ID})
	if err != nil {
		t.Fatal(err)
	}
	w.completed(snap.ID)
	request := cloud.CopyRequest{SourceID: snap.ID, Region: "test-1"}
	if _, err := other.CopySnapshot(t.Context(), request); model.CodeOf(err) != model.CodeSnapshotNotFound {
		t.Errorf("copying another account's: %v", err)
	}
	if err := w.cloud.ShareSnapshot(t.Context(), snap.ID, []string{other.ID()}, nil); err != nil {
		t.Fatal(err)
	}
	twin, err := other.CopySnapshot(t.Context(), request)
	if err != nil || twin.OwnerID != other.ID() {
		t.Fatalf("%+v, %v", twin, err)
	}
	if err := other.DeleteSnapshot(t.Context(), snap.ID); model.CodeOf(err) != model.CodeSnapshotNotFound {
		t.Errorf("deleting another account's: %v", err)
	}
	if err := w.cloud.UnshareSnapshot(t.Context(), snap.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := other.CreateVolume(t.Context(), cloud.VolumeRequest{Zone: other.Zone(), SnapshotID: snap.ID}); model.CodeOf(err) != model.CodeSnapshotNotFound {
		t.Errorf("a volume of what is no longer shared: %v", err)
	}
	if _, err := other.CreateVolume(t.Context(), cloud.VolumeRequest{Zone: other.Zone(), SnapshotID: twin.ID}); err != nil {
		t.Errorf("a volume of the copy: %v", err)
	}
}

// The daemon is ended again and again, and the driver fails now and then: what was
// asked for comes to be, once, and nothing is left over.
func TestVolumesSurviveTheDaemon(t *testing.T) {
	w := newWorld(t)
	w.stop()
	random := rand.New(rand.NewPCG(1, 2))
	var calls atomic.Int64
	fault := errors.New("the driver was asked at a bad moment")
	w.host.Fault = func(_ context.Context, op fakehv.Op, _ string) error {
		switch op {
		case fakehv.OpAttachDisk, fakehv.OpDetachDisk, fakehv.OpDisks:
			if calls.Add(1)%3 == 0 {
				return fault
			}
		}
		return nil
	}
	w.start()
	inst := w.run(w.build().ID)
	w.wait(inst.ID, model.InstanceRunning)
	ctx := t.Context()
	restart := func() {
		time.Sleep(time.Duration(random.IntN(4000)) * time.Microsecond)
		w.stop()
		w.start()
	}
	var snaps []model.Snapshot
	for round := range 6 {
		vol := w.newVolume(1, "")
		if _, err := w.cloud.AttachVolume(ctx, vol.ID, inst.ID, fmt.Sprintf("/dev/sd%c", 'f'+round)); err != nil {
			t.Fatal(err)
		}
		restart()
		set, err := w.cloud.CreateSnapshots(ctx, cloud.SnapshotsRequest{InstanceID: inst.ID})
		if err != nil {
			t.Fatal(err)
		}
		restart()
		if _, err := w.cloud.ModifyVolume(ctx, cloud.VolumeChange{VolumeID: vol.ID, SizeGiB: 2}); err != nil {
			t.Fatal(err)
		}
		restart()
		if _, err := w.cloud.DetachVolume(ctx, cloud.Detachment{VolumeID: vol.ID}); err != nil {
			t.Fatal(err)
		}
		restart()
		w.volumeIs(vol.ID, model.VolumeAvailable)
		w.eventually("it has grown", func() error {
			v, err := w.cloud.Volume(ctx, vol.ID)
			if err == nil && (v.SizeGiB != 2 || v.Modifying()) {
				err = fmt.Errorf("%+v", v.Modification)
			}
			return err
		})
		for _, s := range set {
			snaps = append(snaps, w.completed(s.ID))
		}
		if spec, _ := w.host.Spec(inst.ID); len(spec.Disks) != 1 {
			t.Fatalf("the machine has %+v", spec.Disks)
		}
		if err := w.cloud.DeleteVolume(ctx, vol.ID); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.cloud.Terminate(ctx, []string{inst.ID}); err != nil {
		t.Fatal(err)
	}
	w.wait(inst.ID, model.InstanceTerminated)
	for _, s := range snaps {
		if err := w.cloud.DeleteSnapshot(ctx, s.ID); err != nil {
			t.Fatal(err)
		}
	}
	w.clean(1)
}

// A volume may do what its type says: from the start, when it is attached and
// when it is modified; without limits, anything.
func TestVolumesAreLimited(t *testing.T) {
	w := newWorld(t)
	inst := w.run(w.build().ID)
	w.wait(inst.ID, model.InstanceRunning)
	vol := w.newVolume(4, "")
	w.attach(vol.ID, inst.ID, "/dev/sdf")
	gp3 := model.VolumeKind{Type: "gp3", IOPS: 3000, Throughput: 125}.Limits(4)
	limited := func(disk int, want model.IOLimits) {
		t.Helper()
		w.eventually("the limits are set", func() error {
			if spec, _ := w.host.Spec(inst.ID); spec.Disks[disk].Limits != want {
				return fmt.Errorf("they are %+v, not %+v", spec.Disks[disk].Limits, want)
			}
			return nil
		})
	}
	limited(0, gp3)
	limited(1, gp3)
	io1 := model.VolumeKind{Type: "io1", IOPS: 200}
	if _, err := w.cloud.ModifyVolume(t.Context(), cloud.VolumeChange{VolumeID: vol.ID, Kind: io1}); err != nil {
		t.Fatal(err)
	}
	limited(1, io1.Limits(4))
	limited(0, gp3)
	w.eventually("it is modified", func() error {
		v, err := w.cloud.Volume(t.Context(), vol.ID)
		if err == nil && (v.Modifying() || v.VolumeKind != io1) {
			err = fmt.Errorf("it is %+v", v)
		}
		return err
	})
	w.stop()
	w.limits = false
	w.start()
	if _, err := w.cloud.ModifyVolume(t.Context(), cloud.VolumeChange{VolumeID: vol.ID, SizeGiB: 5}); err != nil {
		t.Fatal(err)
	}
	limited(1, model.IOLimits{})
}

// parents are the layers of a volume's chain by the records and by the files.
func (w *world) parents(id string) (recorded, files []string) {
	w.t.Helper()
	v, err := w.cloud.Volume(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	err = w.store.View(w.t.Context(), func(tx *store.Tx) error {
		recorded = nil
		for id := v.Head; id != ""; {
			l, err := records.Layers.Get(tx, id)
			if err != nil {
				return err
			}
			recorded, id = append(recorded, id), l.Parent
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if files, err = w.layers.Chain(v.Head); err != nil {
		w.t.Fatal(err)
	}
	return recorded, files
}

// Chains that snapshots have made long become short again, under a machine and
// without one; the snapshots stay what they are.
func TestFlattening(t *testing.T) {
	w := newWorld(t)
	w.stop()
	w.depth = 6
	var machine atomic.Bool
	w.host.Fault = func(_ context.Context, op fakehv.Op, _ string) error {
		if op == fakehv.OpFlattenDisk { // as QEMU, it changes the head's file
			machine.Store(true)
			return w.store.View(context.Background(), func(tx *store.Tx) error {
				vols, err := records.Volumes.List(tx)
				for _, v := range vols {
					if f := v.Flattening; f != nil {
						err = errors.Join(err, w.layers.Rebase(context.Background(), f.Head, f.Base))
					}
				}
				return err
			})
		}
		return nil
	}
	w.start()
	inst := w.run(w.build().ID)
	w.wait(inst.ID, model.InstanceRunning)
	vol := w.newVolume(1, "")
	short := func(id string) {
		t.Helper()
		w.eventually("the chain is short", func() error {
			recorded, files := w.parents(id)
			v, _ := w.cloud.Volume(t.Context(), id)
			if len(recorded) > w.depth || !slices.Equal(recorded, files) || v.Flattening != nil {
				return fmt.Errorf("%d layers by the records, %d by the files, %+v", len(recorded), len(files), v.Flattening)
			}
			return nil
		})
	}
	var last model.Snapshot
	snapshots := func(id string) {
		t.Helper()
		for range w.depth + 1 {
			s, err := w.cloud.CreateSnapshot(t.Context(), cloud.SnapshotRequest{VolumeID: id})
			if err != nil {
				t.Fatal(err)
			}
			last = w.completed(s.ID)
		}
	}
	snapshots(vol.ID) // attached to nothing
	short(vol.ID)
	if machine.Load() {
		t.Error("a machine shortened the chain of a volume that it does not have")
	}
	w.attach(vol.ID, inst.ID, "/dev/sdf")
	snapshots(vol.ID)
	short(vol.ID)
	if !machine.Load() {
		t.Error("it was not the machine that shortened the chain")
	}
	if chain, err := w.layers.Chain(last.LayerID); err != nil || len(chain) < 2 {
		t.Errorf("the last snapshot's chain is %v, %v", chain, err)
	}
	w.stop()
	w.start()
	short(vol.ID)
}
