package cloud_test

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/store"
)

// record is an object as the store keeps it, whatever its type is today.
type record = map[string]any

// writeFormat1 makes a store of the first format, with what testdata/format1.json has.
func writeFormat1(t *testing.T, dir string) {
	t.Helper()
	b, err := os.ReadFile("testdata/format1.json")
	if err != nil {
		t.Fatal(err)
	}
	var data map[string][]record
	if err := json.Unmarshal(b, &data); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), store.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	text := func(r *record, member string) string { return (*r)[member].(string) }
	keys := map[string]func(*record) string{
		"clouds":    func(r *record) string { return text(r, "name") },
		"addresses": func(r *record) string { return text(r, "pool") + "." + text(r, "ip") },
		"instances": func(r *record) string { return text(r, "id") },
	}
	err = s.Update(t.Context(), func(tx *store.Tx) error {
		for name, all := range data {
			col := store.NewCollection(name, keys[name])
			for i := range all {
				if err := col.Put(tx, &all[i]); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// Data from before networks were objects keeps its ids and addresses: what
// instances named then exists now.
func TestMigrationOfFormat1(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etcd")
	writeFormat1(t, dir)
	for _, round := range []string{"migrated", "opened again"} {
		s, err := store.Open(t.Context(), store.Options{Dir: dir, Migrations: cloud.Migrations()})
		if err != nil {
			t.Fatal(err)
		}
		c, err := cloud.New(t.Context(), cloud.Options{Store: s, Region: "local-1", PublicPool: netip.MustParsePrefix("127.77.0.0/16")})
		if err != nil {
			t.Fatal(err)
		}
		t.Run(round, func(t *testing.T) { checkMigrated(t, c.Account("012345678901")) })
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func checkMigrated(t *testing.T, a *cloud.Account) {
	ctx := t.Context()
	vpcs, err := a.VPCs(ctx)
	if err != nil || len(vpcs) != 1 || vpcs[0].ID != "vpc-00000000000000001" || !vpcs[0].Default || vpcs[0].CIDR != "172.31.0.0/16" {
		t.Errorf("the VPCs are %+v, %v", vpcs, err)
	}
	subnets, err := a.Subnets(ctx)
	if err != nil || len(subnets) != 1 || subnets[0].ID != "subnet-00000000000000001" || subnets[0].Available != 4091-2 {
		t.Errorf("the subnets are %+v, %v", subnets, err)
	}
	groups, err := a.SecurityGroups(ctx)
	if err != nil || len(groups) != 1 || groups[0].ID != "sg-00000000000000001" || groups[0].Name != "default" || len(groups[0].Rules) != 7 {
		t.Errorf("the groups are %+v, %v", groups, err)
	}
	nics, err := a.FindInterfaces(ctx, nil)
	if err != nil || len(nics) != 2 {
		t.Fatalf("the interfaces are %+v, %v", nics, err)
	}
	for i, want := range []struct {
		id, private, public, instance string
	}{
		{"eni-00000000000000001", "172.31.0.10", "127.77.0.10", "i-00000000000000001"},
		{"eni-00000000000000002", "172.31.0.11", "", "i-00000000000000002"},
	} {
		n := nics[i]
		if n.ID != want.id || n.PrivateIP != want.private || n.PublicIP != want.public || n.OwnerID != "012345678901" ||
			n.AutoPublic != (want.public != "") || n.Attachment == nil || n.Attachment.InstanceID != want.instance ||
			!n.Attachment.DeleteOnTermination || n.Attachment.DeviceIndex != 0 {
			t.Errorf("interface %d is %+v, attached %+v", i, n, n.Attachment)
		}
	}

	// What is migrated can be worked with: its addresses are taken, its parts deleted.
	if _, err := a.CreateNetworkInterface(ctx, cloud.InterfaceSpec{PrivateIP: "172.31.0.10"}, "", nil); model.CodeOf(err) != "InvalidIPAddress.InUse" {
		t.Errorf("asking for an address that an instance has answers %v", err)
	}
	if err := a.DeleteNetworkInterface(ctx, nics[1].ID); model.CodeOf(err) != "InvalidNetworkInterface.InUse" {
		t.Errorf("deleting an instance's interface answers %v", err)
	}
	if err := a.DeleteSubnet(ctx, subnets[0].ID); model.CodeOf(err) != "DependencyViolation" {
		t.Errorf("deleting the subnet answers %v", err)
	}
}
