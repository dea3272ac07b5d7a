package authz_test

import (
	"testing"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// TestQuotas: nothing beyond a quota, by whatever way, and as much as it allows.
func TestQuotas(t *testing.T) {
	w := newWorld(t)
	account := w.admin().AccountID
	quotas := func(set map[model.Quota]int64) {
		t.Helper()
		if _, err := w.auth.SetQuotas(t.Context(), account, set, model.AllQuotas); err != nil {
			t.Fatal(err)
		}
		if _, err := w.auth.SetQuotas(t.Context(), account, set, nil); err != nil {
			t.Fatal(err)
		}
	}
	run := func(least, most int32) (int, string) {
		t.Helper()
		in := w.runInput()
		in.MinCount, in.MaxCount = &least, &most
		out, err := w.call(t, w.admin(), "RunInstances", in)
		if err != nil {
			return 0, model.CodeOf(err)
		}
		return len(out.(*ec2types.RunInstancesOutput).Instances), ""
	}
	want := func(what string, n int, code string, gotN int, gotCode string) {
		t.Helper()
		if n != gotN || code != gotCode {
			t.Errorf("%s: %d %q, want %d %q", what, gotN, gotCode, n, code)
		}
	}
	w.launch(t, w.admin())
	quotas(map[model.Quota]int64{model.QuotaInstances: 3})
	n, code := run(3, 3)
	want("more than there may be", 0, "InstanceLimitExceeded", n, code)
	n, code = run(1, 5)
	want("as many as there may be", 2, "", n, code)
	n, code = run(1, 1)
	want("one more", 0, "InstanceLimitExceeded", n, code)

	// t3.micro has 2 vCPUs and 1 GiB, its volume here 1 GiB; three are there.
	quotas(map[model.Quota]int64{model.QuotaVCPUs: 7})
	n, code = run(1, 1)
	want("vCPUs", 0, "VcpuLimitExceeded", n, code)
	quotas(map[model.Quota]int64{model.QuotaMemory: 4095})
	n, code = run(1, 1)
	want("memory", 0, "InstanceLimitExceeded", n, code)
	quotas(map[model.Quota]int64{model.QuotaVolumes: 3})
	n, code = run(1, 1)
	want("volumes", 0, "VolumeLimitExceeded", n, code)
	quotas(map[model.Quota]int64{model.QuotaVolumesGiB: 4})
	n, code = run(1, 9)
	want("GiB of volumes", 1, "", n, code)

	// Volumes of 1 GiB are four by now.
	quotas(map[model.Quota]int64{model.QuotaVolumesGiB: 6})
	volume := func(gib int32) (*ec2types.CreateVolumeOutput, error) {
		out, err := w.call(t, w.admin(), "CreateVolume", &ec2types.CreateVolumeInput{Size: &gib, AvailabilityZone: new(w.cloud.Zone())})
		if err != nil {
			return nil, err
		}
		return out.(*ec2types.CreateVolumeOutput), nil
	}
	if _, err := volume(3); model.CodeOf(err) != "VolumeLimitExceeded" {
		t.Errorf("a volume too large: %v", err)
	}
	made, err := volume(1)
	if err != nil {
		t.Fatal(err)
	}
	err = w.store.Update(t.Context(), func(tx *store.Tx) error { // the node's part
		v, err := records.Volumes.Get(tx, *made.VolumeId)
		if err != nil {
			return err
		}
		v.State = model.VolumeAvailable
		return records.Volumes.Put(tx, &v)
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.call(t, w.admin(), "ModifyVolume", &ec2types.ModifyVolumeInput{VolumeId: made.VolumeId, Size: new(int32(3))}); model.CodeOf(err) != "VolumeLimitExceeded" {
		t.Errorf("growing beyond the quota: %v", err)
	}
	quotas(map[model.Quota]int64{model.QuotaSnapshots: 1}) // there is that of the image
	if _, err := w.call(t, w.admin(), "CreateSnapshot", &ec2types.CreateSnapshotInput{VolumeId: made.VolumeId}); model.CodeOf(err) != "SnapshotLimitExceeded" {
		t.Errorf("snapshots: %v", err)
	}
	quotas(map[model.Quota]int64{model.QuotaKeyPairs: 0})
	if _, err := w.call(t, w.admin(), "CreateKeyPair", &ec2types.CreateKeyPairInput{KeyName: new("k")}); model.CodeOf(err) != "ResourceLimitExceeded" {
		t.Errorf("key pairs: %v", err)
	}

	// A stopped instance takes no vCPUs, but may not take them back beyond the quota.
	quotas(nil)
	id := w.launch(t, w.admin())
	w.change(t, id, func(i *model.Instance) {
		i.State, i.Desired = model.InstanceStopped, model.InstanceStopped
	})
	quotas(map[model.Quota]int64{model.QuotaVCPUs: 9})
	start := &ec2types.StartInstancesInput{InstanceIds: []string{id}}
	if _, err := w.call(t, w.admin(), "StartInstances", start); model.CodeOf(err) != "VcpuLimitExceeded" {
		t.Errorf("start: %v", err)
	}
	quotas(map[model.Quota]int64{model.QuotaVCPUs: 10, model.QuotaImages: 1})
	if _, err := w.call(t, w.admin(), "StartInstances", start); err != nil {
		t.Errorf("start within the quota: %v", err)
	}
	w.change(t, id, func(i *model.Instance) { i.State = model.InstanceRunning })
	if _, err := w.call(t, w.admin(), "CreateImage", &ec2types.CreateImageInput{InstanceId: &id, Name: new("web"), NoReboot: new(true)}); model.CodeOf(err) != "ResourceLimitExceeded" {
		t.Errorf("images: %v", err)
	}

	// Another account has its own.
	other, _, _, err := w.auth.CreateAccount(t.Context(), "other", map[model.Quota]int64{model.QuotaInstances: 1})
	if err != nil {
		t.Fatal(err)
	}
	w.image = w.putImage(t, other.ID)
	w.launch(t, model.Identity{AccountID: other.ID})
	if _, err := w.call(t, model.Identity{AccountID: other.ID}, "RunInstances", w.runInput()); model.CodeOf(err) != "InstanceLimitExceeded" {
		t.Errorf("the other's second: %v", err)
	}
}

// change plays the node's part.
func (w *world) change(t *testing.T, id string, change func(*model.Instance)) {
	t.Helper()
	err := w.store.Update(t.Context(), func(tx *store.Tx) error {
		i, err := records.Instances.Get(tx, id)
		if err != nil {
			return err
		}
		change(&i)
		return records.Instances.Put(tx, &i)
	})
	if err != nil {
		t.Fatal(err)
	}
}
