package console

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
)

func (c *Console) storageRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET "+Path+"volumes", c.page(volumeList))
	mux.HandleFunc("GET "+Path+"volumes/{id}", c.page(volumePage))
	mux.HandleFunc("POST "+Path+"volumes/create", c.do(createVolume))
	mux.HandleFunc("POST "+Path+"volumes/attach", c.do(attachVolume))
	mux.HandleFunc("POST "+Path+"volumes/detach", c.do(detachVolume))
	mux.HandleFunc("POST "+Path+"volumes/grow", c.do(growVolume))
	mux.HandleFunc("POST "+Path+"volumes/delete", c.do(deleteVolumes))
	mux.HandleFunc("GET "+Path+"snapshots", c.page(snapshotList))
	mux.HandleFunc("GET "+Path+"snapshots/{id}", c.page(snapshotPage))
	mux.HandleFunc("POST "+Path+"snapshots/create", c.do(createSnapshot))
	mux.HandleFunc("POST "+Path+"snapshots/delete", c.do(deleteSnapshots))
}

// volumeTypes are EBS's, the usual one first.
var volumeTypes = []option{{Value: "gp3", Text: "gp3, general purpose"}, {Value: "gp2", Text: "gp2, general purpose, older"}, {Value: "io2", Text: "io2, provisioned IOPS"}, {Value: "st1", Text: "st1, throughput"}, {Value: "sc1", Text: "sc1, cold"}}

func volumeList(ctx context.Context, r *request) (*view, error) {
	l := listed(r, model.VolumePrefix, "volume-id")
	out, err := call[ec2types.DescribeVolumesOutput](ctx, r, "DescribeVolumes", &ec2types.DescribeVolumesInput{Filters: l.filters, MaxResults: new(int32(pageSize)), NextToken: l.token})
	if err != nil {
		return nil, err
	}
	t := table{
		ID: "volumes", Title: "Volumes", Help: "A volume is a disk of an instance. It can be attached and grown while the machine runs.",
		Columns: []column{{Title: "Name"}, {Title: "Volume"}, {Title: "State"}, {Title: "Size"}, {Title: "Type", Wide: true}, {Title: "Attached to"}, {Title: "Made", Wide: true}},
		Choose:  []button{{Text: "Delete", Action: Path + "volumes/delete", Danger: "What is on the volumes is gone for good. Snapshots of them stay."}},
		Empty:   "No volumes. Each instance makes its own at the launch; more can be made here.",
		Forms: []form{{Title: "Create volume", Action: Path + "volumes/create", Submit: "Create volume", Fields: []field{
			{Name: "name", Label: "Name"}, {Name: "size", Label: "Size in GiB", Type: "number", Value: "8", Min: "1", Max: "65536", Required: true},
			{Name: "type", Label: "Type", Type: "select", Options: volumeTypes}, {Name: "snapshot", Label: "From a snapshot", Help: "snap-…, or nothing for an empty disk"},
		}}},
	}
	for _, v := range out.Volumes {
		var at cell
		for _, a := range v.Attachments {
			at.More = append(at.More, link(a.InstanceId), code(a.Device))
		}
		t.Rows = append(t.Rows, row{ID: ec2types.Value(v.VolumeId), Cells: []cell{named(v.VolumeId, v.Tags), link(v.VolumeId), state(v.State), number(v.Size, "GiB"), text(v.VolumeType), at, when(v.CreateTime)}})
	}
	l.page(&t, out.NextToken)
	return &view{Title: "Volumes", Section: "volumes", Template: "table", Main: t}, nil
}

func volumePage(ctx context.Context, r *request) (*view, error) {
	id := r.PathValue("id")
	out, err := call[ec2types.DescribeVolumesOutput](ctx, r, "DescribeVolumes", &ec2types.DescribeVolumesInput{VolumeIds: []string{id}})
	if err != nil {
		return nil, err
	}
	if len(out.Volumes) == 0 {
		return nil, errNoPage
	}
	v := out.Volumes[0]
	d := detail{Kind: "Volume", Parent: button{Text: "Volumes", Action: Path + "volumes"}, ID: id, Name: nameOf(v.Tags), State: ec2types.Value(v.State), Tags: v.Tags, Tagged: true}
	hidden := map[string]string{"id": id}
	var at cell
	for _, a := range v.Attachments {
		at.More = append(at.More, link(a.InstanceId), code(a.Device), state(a.State))
	}
	if len(v.Attachments) == 0 {
		instances, err := attachable(ctx, r)
		if err != nil {
			return nil, err
		}
		d.Forms = append(d.Forms, form{Title: "Attach", Action: Path + "volumes/attach?id=" + id, Submit: "Attach", Fields: []field{
			{Name: "instance", Label: "Instance", Type: "select", Options: instances, Required: true}, {Name: "device", Label: "Device name", Value: "/dev/sdf", Required: true, Help: "as the instance's storage mappings call it"},
		}})
		d.Buttons = append(d.Buttons, button{Text: "Delete", Action: Path + "volumes/delete", Hidden: hidden, Danger: "What is on the volume is gone for good."})
	} else {
		d.Buttons = append(d.Buttons, button{Text: "Detach", Action: Path + "volumes/detach", Hidden: hidden, Danger: "Unmount it in the guest before: what was not written is lost."})
	}
	size := int(ec2types.Value(v.Size))
	d.Forms = append(d.Forms,
		form{Title: "Grow", Action: Path + "volumes/grow?id=" + id, Submit: "Grow", Help: "The guest sees it at once; its file system is grown by the guest.", Fields: []field{{Name: "size", Label: "Size in GiB", Type: "number", Value: strconv.Itoa(size + 1), Min: strconv.Itoa(size + 1), Max: "65536", Required: true}}},
		form{Title: "Create snapshot", Action: Path + "snapshots/create?id=" + id, Submit: "Create snapshot", Fields: []field{{Name: "description", Label: "Description"}}},
	)
	d.Facts = present(fact{"Size", number(v.Size, "GiB")}, fact{"Type", text(v.VolumeType)}, fact{"IOPS", number(v.Iops, "")}, fact{"Throughput", number(v.Throughput, "MiB/s")}, fact{"Encrypted", yes(v.Encrypted)},
		fact{"Attached to", at}, fact{"From the snapshot", link(v.SnapshotId)}, fact{"Zone", text(v.AvailabilityZone)}, fact{"Made", when(v.CreateTime)})
	if len(v.Attachments) > 0 {
		d.Graphs = chartsOf(ctx, r, "VolumeId", id, volumeCharts())
	}
	return &view{Title: id, Section: "volumes", Template: "detail", Main: d}, nil
}

// attachable are the instances that can get a volume.
func attachable(ctx context.Context, r *request) (options []option, err error) {
	out, err := call[ec2types.DescribeInstancesOutput](ctx, r, "DescribeInstances", &ec2types.DescribeInstancesInput{
		Filters: []ec2types.Filter{{Name: new("instance-state-name"), Values: []string{"running", "stopped"}}}, MaxResults: new(int32(1000)),
	})
	if err != nil {
		return nil, err
	}
	for _, i := range instancesOf(out) {
		id := ec2types.Value(i.InstanceId)
		options = append(options, option{Value: id, Text: strings.TrimSpace(nameOf(i.Tags) + " " + id)})
	}
	return options, nil
}

// gib reads a size that a form gives.
func gib(text string) (*int32, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 32)
	if err != nil {
		return nil, model.Errorf(model.CodeInvalidParameterValue, "The size %q is no number of GiB", text)
	}
	return new(int32(n)), nil
}

func createVolume(ctx context.Context, r *request) (next, done string, err error) {
	size, err := gib(r.FormValue("size"))
	if err != nil {
		return "", "", err
	}
	zones, err := call[ec2types.DescribeAvailabilityZonesOutput](ctx, r, "DescribeAvailabilityZones", &ec2types.DescribeAvailabilityZonesInput{})
	if err != nil {
		return "", "", err
	}
	in := &ec2types.CreateVolumeInput{Size: size, VolumeType: filled(r.FormValue("type")), SnapshotId: filled(r.FormValue("snapshot")), AvailabilityZone: zones.AvailabilityZones[0].ZoneName}
	if name := filled(r.FormValue("name")); name != nil {
		in.TagSpecifications = []ec2types.TagSpecification{{ResourceType: new("volume"), Tags: []ec2types.Tag{{Key: new(nameTag), Value: name}}}}
	}
	out, err := call[ec2types.CreateVolumeOutput](ctx, r, "CreateVolume", in)
	if err != nil {
		return "", "", err
	}
	return pageOf(ec2types.Value(out.VolumeId)), "", nil
}

func attachVolume(ctx context.Context, r *request) (next, done string, err error) {
	err = act(ctx, r, "AttachVolume", &ec2types.AttachVolumeInput{VolumeId: filled(r.FormValue("id")), InstanceId: filled(r.FormValue("instance")), Device: filled(r.FormValue("device"))})
	return back(r), "", err
}

func detachVolume(ctx context.Context, r *request) (next, done string, err error) {
	err = act(ctx, r, "DetachVolume", &ec2types.DetachVolumeInput{VolumeId: filled(r.FormValue("id"))})
	return back(r), "", err
}

func growVolume(ctx context.Context, r *request) (next, done string, err error) {
	size, err := gib(r.FormValue("size"))
	if err == nil {
		err = act(ctx, r, "ModifyVolume", &ec2types.ModifyVolumeInput{VolumeId: filled(r.FormValue("id")), Size: size})
	}
	return back(r), "", err
}

func deleteVolumes(ctx context.Context, r *request) (next, done string, err error) {
	ids := r.Form["id"]
	if len(ids) == 0 {
		return "", "", missing("which volumes: choose some in the table")
	}
	for _, id := range ids {
		if err := act(ctx, r, "DeleteVolume", &ec2types.DeleteVolumeInput{VolumeId: &id}); err != nil {
			return "", "", err
		}
	}
	return Path + "volumes", "Deleted " + strings.Join(ids, ", "), nil
}

func snapshotList(ctx context.Context, r *request) (*view, error) {
	l := listed(r, model.SnapshotPrefix, "snapshot-id")
	out, err := call[ec2types.DescribeSnapshotsOutput](ctx, r, "DescribeSnapshots", &ec2types.DescribeSnapshotsInput{OwnerIds: []string{"self"}, Filters: l.filters, MaxResults: new(int32(pageSize)), NextToken: l.token})
	if err != nil {
		return nil, err
	}
	t := table{
		ID: "snapshots", Title: "Snapshots", Help: "A snapshot is a volume as it was at a moment. Images are made of them.",
		Columns: []column{{Title: "Name"}, {Title: "Snapshot"}, {Title: "State"}, {Title: "Size"}, {Title: "Volume"}, {Title: "Description", Wide: true}, {Title: "Made", Wide: true}},
		Choose:  []button{{Text: "Delete", Action: Path + "snapshots/delete", Danger: "Those that an image is made of are not deleted."}},
		Empty:   "No snapshots. They are made on the page of a volume.", EmptyTo: &button{Text: "See the volumes", Action: Path + "volumes"},
	}
	for _, s := range out.Snapshots {
		volume := link(s.VolumeId)
		if volume.Text == "vol-ffffffff" { // as EC2 has it: none
			volume = cell{}
		}
		t.Rows = append(t.Rows, row{ID: ec2types.Value(s.SnapshotId), Cells: []cell{named(s.SnapshotId, s.Tags), link(s.SnapshotId), state(s.State), number(s.VolumeSize, "GiB"), volume, text(s.Description), when(s.StartTime)}})
	}
	l.page(&t, out.NextToken)
	return &view{Title: "Snapshots", Section: "snapshots", Template: "table", Main: t}, nil
}

func snapshotPage(ctx context.Context, r *request) (*view, error) {
	id := r.PathValue("id")
	out, err := call[ec2types.DescribeSnapshotsOutput](ctx, r, "DescribeSnapshots", &ec2types.DescribeSnapshotsInput{SnapshotIds: []string{id}})
	if err != nil {
		return nil, err
	}
	if len(out.Snapshots) == 0 {
		return nil, errNoPage
	}
	s := out.Snapshots[0]
	d := detail{Kind: "Snapshot", Parent: button{Text: "Snapshots", Action: Path + "snapshots"}, ID: id, Name: nameOf(s.Tags), State: ec2types.Value(s.State), Tags: s.Tags, Tagged: ec2types.Value(s.OwnerId) == r.Account()}
	d.Facts = present(fact{"Size", number(s.VolumeSize, "GiB")}, fact{"Of the volume", link(s.VolumeId)}, fact{"Description", text(s.Description)}, fact{"Owner", code(s.OwnerId)}, fact{"Progress", text(s.Progress)}, fact{"Encrypted", yes(s.Encrypted)}, fact{"Made", when(s.StartTime)})
	if d.Tagged {
		d.Buttons = []button{{Text: "Delete", Action: Path + "snapshots/delete", Hidden: map[string]string{"id": id}, Danger: "The snapshot is gone for good."}}
	}
	d.Forms = []form{{Title: "Create volume", Action: Path + "volumes/create", Submit: "Create volume", Fields: []field{
		{Name: "snapshot", Type: "hidden", Value: id}, {Name: "name", Label: "Name"}, {Name: "size", Label: "Size in GiB", Type: "number", Value: strconv.Itoa(int(ec2types.Value(s.VolumeSize))), Min: strconv.Itoa(int(ec2types.Value(s.VolumeSize))), Required: true},
		{Name: "type", Label: "Type", Type: "select", Options: volumeTypes},
	}}}
	return &view{Title: id, Section: "snapshots", Template: "detail", Main: d}, nil
}

func createSnapshot(ctx context.Context, r *request) (next, done string, err error) {
	out, err := call[ec2types.CreateSnapshotOutput](ctx, r, "CreateSnapshot", &ec2types.CreateSnapshotInput{VolumeId: filled(r.FormValue("id")), Description: filled(r.FormValue("description"))})
	if err != nil {
		return "", "", err
	}
	return pageOf(ec2types.Value(out.SnapshotId)), "", nil
}

func deleteSnapshots(ctx context.Context, r *request) (next, done string, err error) {
	ids := r.Form["id"]
	if len(ids) == 0 {
		return "", "", missing("which snapshots: choose some in the table")
	}
	for _, id := range ids {
		if err := act(ctx, r, "DeleteSnapshot", &ec2types.DeleteSnapshotInput{SnapshotId: &id}); err != nil {
			return "", "", err
		}
	}
	return Path + "snapshots", "Deleted " + strings.Join(ids, ", "), nil
}
