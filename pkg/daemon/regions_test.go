package daemon_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bundt/bundt/images"
	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/daemon"
	"github.com/bundt/bundt/pkg/model"
)

// regionsFile names a region for other daemons, with its admin's access key.
func (c *cloud) regionsFile(name string) string {
	c.t.Helper()
	at, err := c.DescribeEndpoint(c.t.Context(), &bundttypes.DescribeEndpointInput{})
	c.must(err)
	file := filepath.Join(c.t.TempDir(), "regions.yaml")
	c.must(os.WriteFile(file, fmt.Appendf(nil, "%s:\n  endpoint: %s\n  credentials: %s\n", name, at.Url, at.CredentialsFile), 0o600))
	return file
}

// west is a cloud of the region west-1, and east one that knows it.
func twoRegions(t *testing.T) (west, east *cloud) {
	t.Helper()
	cfg := config(t)
	cfg.Region = "west-1"
	west = cloudWith(t, cfg, daemon.Parts{})
	cfg = config(t)
	cfg.RegionsFile = west.regionsFile("west-1")
	return west, cloudWith(t, cfg, daemon.Parts{})
}

func (c *cloud) image(id *string) *ec2types.Image {
	c.t.Helper()
	out, err := c.DescribeImages(c.t.Context(), &ec2types.DescribeImagesInput{ImageIds: []string{*id}})
	c.must(err)
	return &out.Images[0]
}

// settled waits until an image is no longer pending.
func (c *cloud) settled(id *string) *ec2types.Image {
	c.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		if i := c.image(id); *i.State != "pending" || time.Now().After(end) {
			return i
		}
	}
}

func (c *cloud) tasks() []bundttypes.RegistryTask {
	c.t.Helper()
	out, err := c.DescribeRegistryTasks(c.t.Context(), &bundttypes.DescribeRegistryTasksInput{})
	c.must(err)
	return out.Tasks
}

func TestCopyImageBetweenRegions(t *testing.T) {
	west, east := twoRegions(t)
	src := west.bootSector()
	_, err := west.CreateTags(t.Context(), &ec2types.CreateTagsInput{Resources: []string{*src}, Tags: []ec2types.Tag{{Key: new("team"), Value: new("bakers")}}})
	west.must(err)

	regions, err := east.DescribeRegions(t.Context(), &ec2types.DescribeRegionsInput{})
	east.must(err)
	if names := []string{*regions.Regions[0].RegionName, *regions.Regions[1].RegionName}; !slices.Equal(names, []string{"local-1", "west-1"}) || *regions.Regions[1].Endpoint == "" {
		t.Errorf("the regions are %v", names)
	}

	in := &ec2types.CopyImageInput{SourceImageId: src, SourceRegion: new("west-1"), Name: new("copy"), Description: new("from the west"), CopyImageTags: new(true), ClientToken: new("once")}
	out, err := east.CopyImage(t.Context(), in)
	east.must(err)
	again, err := east.CopyImage(t.Context(), in)
	east.must(err)
	if *again.ImageId != *out.ImageId {
		t.Errorf("with the same token it was copied twice: %s, %s", *out.ImageId, *again.ImageId)
	}
	got, want := east.settled(out.ImageId), west.image(src)
	if *got.State != "available" {
		t.Fatalf("the copy is %s: %s", *got.State, ec2types.Value(got.StateReason.Message))
	}
	if *got.Name != "copy" || *got.Description != "from the west" || *got.SourceImageId != *src || *got.SourceImageRegion != "west-1" || *got.Architecture != *want.Architecture ||
		*got.BlockDeviceMappings[0].Ebs.VolumeSize != *want.BlockDeviceMappings[0].Ebs.VolumeSize || *got.BlockDeviceMappings[0].Ebs.SnapshotId == *want.BlockDeviceMappings[0].Ebs.SnapshotId {
		t.Errorf("the copy is %+v, of %+v", got, want)
	}
	if !slices.ContainsFunc(got.Tags, func(t ec2types.Tag) bool { return *t.Key == "team" && *t.Value == "bakers" }) {
		t.Errorf("the tags did not come along: %+v", got.Tags)
	}
	east.run(out.ImageId)
	if first := east.tasks()[0]; first.MovedBytes == 0 {
		t.Errorf("nothing was moved: %+v", first)
	}

	// What is here is not got again.
	second, err := east.CopyImage(t.Context(), &ec2types.CopyImageInput{SourceImageId: src, SourceRegion: new("west-1"), Name: new("again")})
	east.must(err)
	if i := east.settled(second.ImageId); *i.State != "available" || len(i.Tags) != 0 {
		t.Errorf("the second copy is %s: %+v, with the tags %v", *i.State, i.StateReason, i.Tags)
	}
	for _, task := range east.tasks() {
		if task.ImageId == *second.ImageId && (task.MovedBytes != 0 || task.ReusedBytes == 0) {
			t.Errorf("the second copy moved bytes that were here: %+v", task)
		}
	}
}

func TestCopySnapshotBetweenRegions(t *testing.T) {
	west, east := twoRegions(t)
	src := west.image(west.bootSector()).BlockDeviceMappings[0].Ebs.SnapshotId
	out, err := east.CopySnapshot(t.Context(), &ec2types.CopySnapshotInput{SourceSnapshotId: src, SourceRegion: new("west-1"), Description: new("kept elsewhere")})
	east.must(err)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		got, err := east.DescribeSnapshots(t.Context(), &ec2types.DescribeSnapshotsInput{SnapshotIds: []string{*out.SnapshotId}})
		east.must(err)
		s := got.Snapshots[0]
		if *s.State == "pending" && time.Now().Before(end) {
			continue
		}
		if *s.State != "completed" || *s.Description != "kept elsewhere" || *s.VolumeSize != 1 {
			t.Fatalf("the copy is %s: %s", *s.State, ec2types.Value(s.StateMessage))
		}
		break
	}
	_, err = east.RegisterImage(t.Context(), &ec2types.RegisterImageInput{Name: new("of it"), Architecture: new("x86_64"), RootDeviceName: new("/dev/sda1"),
		BlockDeviceMappings: []ec2types.BlockDeviceMapping{{DeviceName: new("/dev/sda1"), Ebs: &ec2types.EbsBlockDevice{SnapshotId: out.SnapshotId}}}})
	east.must(err)
}

// A copy that another region refuses, or that no region answers, fails as EC2's does.
func TestRefusedCopiesBetweenRegions(t *testing.T) {
	west, east := twoRegions(t)
	src := west.bootSector()
	for name, c := range map[string]struct {
		change func(*ec2types.CopyImageInput)
		code   string
	}{
		"an unknown region": {func(in *ec2types.CopyImageInput) { in.SourceRegion = new("north-1") }, model.CodeInvalidParameterValue},
		"an unknown image":  {func(in *ec2types.CopyImageInput) { in.SourceImageId = new("ami-0123456789abcdef0") }, model.CodeImageIDNotFound},
		"a malformed id":    {func(in *ec2types.CopyImageInput) { in.SourceImageId = new("ami-x") }, model.CodeImageIDMalformed},
		"to be encrypted":   {func(in *ec2types.CopyImageInput) { in.Encrypted = new(true) }, model.CodeUnsupportedOperation},
	} {
		in := &ec2types.CopyImageInput{SourceImageId: src, SourceRegion: new("west-1"), Name: new("copy")}
		c.change(in)
		if _, err := east.CopyImage(t.Context(), in); model.CodeOf(err) != c.code {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}
	at, err := west.DescribeEndpoint(t.Context(), &bundttypes.DescribeEndpointInput{})
	west.must(err)
	keys, err := os.ReadFile(at.CredentialsFile)
	west.must(err)
	dir := t.TempDir()
	for name, c := range map[string]struct{ endpoint, keys, code string }{
		"no key of the account": {at.Url, "[123456789012]\naws_access_key_id = a\naws_secret_access_key = b\n", model.CodeAuthFailure},
		"a wrong secret":        {at.Url, strings.Replace(string(keys), "aws_secret_access_key = ", "aws_secret_access_key = x", 1), model.CodeAuthFailure},
		"nobody there":          {"http://127.0.0.1:1", string(keys), model.CodeServiceUnavailable},
	} {
		west.must(os.WriteFile(filepath.Join(dir, "keys"), []byte(c.keys), 0o600))
		cfg := config(t)
		cfg.RegionsFile = filepath.Join(dir, "regions.yaml")
		west.must(os.WriteFile(cfg.RegionsFile, fmt.Appendf(nil, "west-1: {endpoint: %q, credentials: keys}\n", c.endpoint), 0o600))
		lone := cloudWith(t, cfg, daemon.Parts{})
		_, err := lone.CopyImage(t.Context(), &ec2types.CopyImageInput{SourceImageId: src, SourceRegion: new("west-1"), Name: new("copy")})
		if model.CodeOf(err) != c.code {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}
	// Nobody gets content without a signature.
	answer, err := http.Get(at.Url + "/v2/" + *src + "/manifests/latest")
	west.must(err)
	answer.Body.Close()
	if answer.StatusCode != http.StatusForbidden {
		t.Errorf("an unsigned request is answered with %s", answer.Status)
	}
}

// A pipeline has another region copy its images.
func TestPipelineDistributesToRegions(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg, eastern := config(t), config(t)
	eastern.Region, eastern.Listen = "east-1", l.Addr().String()
	cfg.RegionsFile = filepath.Join(t.TempDir(), "regions.yaml")
	text := fmt.Sprintf("east-1: {endpoint: %q, credentials: %q}\n", "http://"+eastern.Listen, filepath.Join(eastern.DataDir, "credentials"))
	if err := errors.Join(l.Close(), os.WriteFile(cfg.RegionsFile, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
	west := cloudWith(t, cfg, daemon.Parts{})
	eastern.RegionsFile = west.regionsFile("local-1")
	east := cloudWith(t, eastern, daemon.Parts{})

	fsys, err := images.FS("boot-sector")
	west.must(err)
	_, err = west.CreateImagePipeline(t.Context(), &bundttypes.CreateImagePipelineInput{
		Name: new("dots"), ContextDigest: west.upload(fsys), Architecture: new("x86_64"),
		Distribution: &bundttypes.DistributionConfiguration{Regions: []string{"east-1", "local-1"}, AmiTags: []ec2types.Tag{{Key: new("team"), Value: new("bakers")}}},
	})
	west.must(err)
	started, err := west.StartImagePipelineExecution(t.Context(), &bundttypes.StartImagePipelineExecutionInput{ImagePipeline: new("dots")})
	west.must(err)
	var run bundttypes.ImagePipelineExecution
	west.until("it is distributed", func() error {
		found, err := west.DescribeImagePipelineExecutions(t.Context(), &bundttypes.DescribeImagePipelineExecutionsInput{ExecutionIds: []string{started.Execution.ExecutionId}})
		if err != nil {
			return err
		}
		if run = found.Executions[0]; run.State != "available" {
			return fmt.Errorf("%+v", run)
		}
		return nil
	})
	if len(run.Distributions) != 1 || run.Distributions[0].Kind != "region" || run.Distributions[0].Target != "east-1" || run.Distributions[0].State != "completed" || run.StateReason != "" {
		t.Fatalf("it was distributed as %+v", run.Distributions)
	}
	there := east.image(&run.Distributions[0].ImageId)
	if *there.State != "available" || *there.Name != run.ImageName || *there.SourceImageId != run.ImageId || *there.SourceImageRegion != "local-1" ||
		!slices.ContainsFunc(there.Tags, func(t ec2types.Tag) bool { return *t.Key == "team" && *t.Value == "bakers" }) {
		t.Errorf("the copy is %+v", there)
	}
}
