package actions_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// many makes so many volumes, snapshots, images, interfaces, and instances with
// their lineages, and returns the last id of each.
func (w *imageWorld) many(n int) (vol, snap, img, nic, inst string) {
	w.t.Helper()
	const each = 100 // in a transaction
	for done := 0; done < n; done += each {
		w.put(func(tx *store.Tx) error {
			for k := done; k < min(n, done+each); k++ {
				vol, snap, img = fmt.Sprintf("vol-%017x", k), fmt.Sprintf("snap-%017x", k), fmt.Sprintf("ami-%017x", k)
				nic, inst = fmt.Sprintf("eni-%017x", k), fmt.Sprintf("i-%017x", k)
				owned := model.Tags{"Name": fmt.Sprint("n", k)}
				for _, err := range []error{
					records.Volumes.Put(tx, &model.Volume{ID: vol, OwnerID: w.me, SizeGiB: 8, State: model.VolumeAvailable, SnapshotID: snap, Tags: owned, Created: w.now}),
					records.Snapshots.Put(tx, &model.Snapshot{ID: snap, OwnerID: w.me, SizeGiB: 8, State: model.SnapshotCompleted, Tags: owned, Started: w.now}),
					records.Images.Put(tx, &model.Image{
						ID: img, OwnerID: w.me, Name: fmt.Sprint("image-", k), Arch: model.X8664, State: model.ImageAvailable, Tags: owned, Created: w.now,
						RootDevice: "/dev/sda1", BlockDevices: []model.BlockDevice{{Device: "/dev/sda1", SnapshotID: snap, SizeGiB: 8}},
					}),
					records.Interfaces.Put(tx, &model.NetworkInterface{ID: nic, OwnerID: w.me, PrivateIP: fmt.Sprintf("10.0.%d.%d", k/250, k%250), Tags: owned}),
					records.Instances.Put(tx, &model.Instance{ID: inst, OwnerID: w.me, ImageID: img, Arch: model.X8664, State: model.InstanceStopped, Tags: owned}),
					records.Lineages.Put(tx, &model.Lineage{ID: img, OwnerID: w.me, Kind: model.LineageImage, Name: "image", Created: w.now.Add(time.Duration(k) * time.Second)}),
					records.Lineages.Put(tx, &model.Lineage{ID: inst, OwnerID: w.me, Kind: model.LineageInstance, Parent: img, Created: w.now}), // an old one, that was imported
				} {
					if err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	return vol, snap, img, nic, inst
}

// TestLineagePages reads a forest page by page while it grows: what is there all
// the time comes once, parents before children.
func TestLineagePages(t *testing.T) {
	w := newImageWorld(t)
	w.many(20)
	whole, err := as[bundttypes.DescribeLineageOutput](w, w.me, "DescribeLineage", &bundttypes.DescribeLineageInput{})
	if err != nil || len(whole.Nodes) != 40 || whole.NextToken != nil {
		t.Fatal(whole, err)
	}
	var got []string
	in := &bundttypes.DescribeLineageInput{MaxResults: new(int32(7))}
	for k := 0; ; k++ {
		page, err := as[bundttypes.DescribeLineageOutput](w, w.me, "DescribeLineage", in)
		if err != nil || len(page.Nodes) > 7 {
			t.Fatal(page, err)
		}
		for _, n := range page.Nodes {
			if n.Name == "late" {
				continue
			}
			if n.ParentId != "" && !slices.Contains(got, n.ParentId) {
				t.Errorf("%s comes before what it was made of, %s", n.Id, n.ParentId)
			}
			got = append(got, n.Id)
		}
		if page.NextToken == nil {
			break
		}
		w.put(func(tx *store.Tx) error {
			return records.Lineages.Put(tx, &model.Lineage{ID: fmt.Sprintf("i-%017x", 1000+k), OwnerID: w.me, Kind: model.LineageInstance, Name: "late", Parent: fmt.Sprintf("ami-%017x", k), Created: w.now})
		})
		in.NextToken = page.NextToken
	}
	var want []string
	for _, n := range whole.Nodes {
		want = append(want, n.Id)
	}
	if !slices.Equal(got, want) {
		t.Errorf("pages have\n%v, want\n%v", got, want)
	}
	family, err := as[bundttypes.DescribeLineageOutput](w, w.me, "DescribeLineage", &bundttypes.DescribeLineageInput{InstanceId: new("i-00000000000000013")})
	if err != nil || len(family.Nodes) != 2 || family.Nodes[0].Id != "ami-00000000000000013" || family.Nodes[0].State != "available" || family.Nodes[1].State != "stopped" {
		t.Errorf("family = %+v, %v", family, err)
	}
	if _, err := as[bundttypes.DescribeLineageOutput](w, w.me, "DescribeLineage", &bundttypes.DescribeLineageInput{MaxResults: new(int32(5)), NextToken: in.NextToken}); err != nil {
		t.Errorf("the same pages in another size: %v", err)
	}
	_, err = as[bundttypes.DescribeLineageOutput](w, w.me, "DescribeLineage", &bundttypes.DescribeLineageInput{InstanceId: new("i-00000000000000013"), NextToken: in.NextToken})
	if model.CodeOf(err) != model.CodeInvalidNextToken {
		t.Errorf("the token of everything for one family: %v", err)
	}
}

// TestSharedImagesByID looks at another account's image as that account may see it,
// by id as in the whole list.
func TestSharedImagesByID(t *testing.T) {
	w := newImageWorld(t)
	id := "ami-0000000000000abcd"
	w.put(func(tx *store.Tx) error {
		return records.Images.Put(tx, &model.Image{ID: id, OwnerID: other, Name: "theirs", State: model.ImageAvailable, Tags: model.Tags{"secret": "yes"}, Launch: model.Sharing{Accounts: []string{w.me}}})
	})
	for _, in := range []ec2types.DescribeImagesInput{{}, {ImageIds: []string{id}}} {
		out, err := as[ec2types.DescribeImagesOutput](w, w.me, "DescribeImages", &in)
		if err != nil || len(out.Images) != 1 || len(out.Images[0].Tags) != 0 {
			t.Errorf("DescribeImages(%v) = %+v, %v", in.ImageIds, out, err)
		}
	}
	if _, err := as[ec2types.DescribeImagesOutput](w, "888888888888", "DescribeImages", &ec2types.DescribeImagesInput{ImageIds: []string{id}}); model.CodeOf(err) != model.CodeImageIDNotFound {
		t.Errorf("for an account that it is not shared with: %v", err)
	}
}

// BenchmarkDescribe measures descriptions among 10,000 objects of each kind.
func BenchmarkDescribe(b *testing.B) {
	w := newImageWorld(b)
	vol, snap, img, nic, inst := w.many(10_000)
	page, filter := new(int32(1000)), func(name, value string) []ec2types.Filter {
		return []ec2types.Filter{{Name: &name, Values: []string{value}}}
	}
	for _, c := range []struct {
		name, action string
		in           any
	}{
		{"volumes/page", "DescribeVolumes", &ec2types.DescribeVolumesInput{MaxResults: page}},
		{"volumes/id", "DescribeVolumes", &ec2types.DescribeVolumesInput{VolumeIds: []string{vol}}},
		{"volumes/filter", "DescribeVolumes", &ec2types.DescribeVolumesInput{Filters: filter("tag:Name", "n9999")}},
		{"snapshots/page", "DescribeSnapshots", &ec2types.DescribeSnapshotsInput{MaxResults: page, OwnerIds: []string{"self"}}},
		{"snapshots/id", "DescribeSnapshots", &ec2types.DescribeSnapshotsInput{SnapshotIds: []string{snap}}},
		{"images/page", "DescribeImages", &ec2types.DescribeImagesInput{MaxResults: page}},
		{"images/id", "DescribeImages", &ec2types.DescribeImagesInput{ImageIds: []string{img}}},
		{"images/filter", "DescribeImages", &ec2types.DescribeImagesInput{Filters: filter("name", "image-9999")}},
		{"interfaces/page", "DescribeNetworkInterfaces", &ec2types.DescribeNetworkInterfacesInput{MaxResults: page}},
		{"interfaces/id", "DescribeNetworkInterfaces", &ec2types.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{nic}}},
		{"interfaces/filter", "DescribeNetworkInterfaces", &ec2types.DescribeNetworkInterfacesInput{Filters: filter("tag:Name", "n9999")}},
		{"instances/page", "DescribeInstances", &ec2types.DescribeInstancesInput{MaxResults: page}},
		{"instances/id", "DescribeInstances", &ec2types.DescribeInstancesInput{InstanceIds: []string{inst}}},
		{"instances/filter", "DescribeInstances", &ec2types.DescribeInstancesInput{Filters: filter("tag:Name", "n9999")}},
		{"lineage/page", "DescribeLineage", &bundttypes.DescribeLineageInput{MaxResults: page}},
		{"lineage/id", "DescribeLineage", &bundttypes.DescribeLineageInput{InstanceId: &inst}},
		{"lineage/all", "DescribeLineage", &bundttypes.DescribeLineageInput{}},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := w.d.Call(b.Context(), &api.Call{Action: c.action, Input: c.in, Principal: api.Principal{AccountID: w.me, Name: "bench"}}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
