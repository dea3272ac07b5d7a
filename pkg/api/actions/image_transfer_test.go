package actions_test

import (
	"strings"
	"testing"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
)

func container(url, format string) ec2types.ImageDiskContainer {
	return ec2types.ImageDiskContainer{Url: &url, Format: &format}
}

func TestImportImage(t *testing.T) {
	w := newImageWorld(t)
	digest, _, err := w.layers.PutBlob(t.Context(), strings.NewReader("a disk"))
	if err != nil {
		t.Fatal(err)
	}
	in := &ec2types.ImportImageInput{
		Description: new("from elsewhere"), ClientToken: new("once"), Platform: new("Linux"), LicenseType: new("BYOL"),
		DiskContainers: []ec2types.ImageDiskContainer{
			container("upload:"+digest, "vmdk"),
			{UserBucket: &ec2types.UserBucket{S3Bucket: new("my-bucket"), S3Key: new("a/data.vhd")}, Format: new("VHD")},
			{SnapshotId: new(w.snapshot(w.me, 3)), DeviceName: new("/dev/sdf")},
		},
		TagSpecifications: []ec2types.TagSpecification{{ResourceType: new("import-image-task"), Tags: []ec2types.Tag{{Key: new("bundt:image-name"), Value: new("named")}}}},
	}
	again := *in
	out := must[ec2types.ImportImageOutput](w, "ImportImage", in)
	id := *out.ImportTaskId
	if *out.Status != "active" || *out.StatusMessage != "pending" || *out.Progress != "0" || !strings.HasPrefix(id, "import-ami-") || out.ImageId != nil {
		t.Errorf("got %+v", out)
	}
	if got := *must[ec2types.ImportImageOutput](w, "ImportImage", &again).ImportTaskId; got != id {
		t.Errorf("the same token made %s and %s", id, got)
	}
	task := must[ec2types.DescribeImportImageTasksOutput](w, "DescribeImportImageTasks", &ec2types.DescribeImportImageTasksInput{
		ImportTaskIds: []string{id}, Filters: []ec2types.Filter{{Name: new("task-state"), Values: []string{"active"}}},
	}).ImportImageTasks[0]
	d := task.SnapshotDetails
	if *d[0].DeviceName != "/dev/sda1" || *d[0].Format != "VMDK" || *d[1].DeviceName != "/dev/sdb" || *d[1].UserBucket.S3Key != "a/data.vhd" || *d[2].DeviceName != "/dev/sdf" {
		t.Errorf("disks are %+v", d)
	}

	one := func(c ec2types.ImageDiskContainer) *ec2types.ImportImageInput {
		return &ec2types.ImportImageInput{DiskContainers: []ec2types.ImageDiskContainer{c}}
	}
	good := container("s3://my-bucket/disk", "RAW")
	named := one(good)
	named.TagSpecifications = again.TagSpecifications
	arm := one(good)
	arm.Architecture, arm.BootMode = new("arm64"), new("legacy-bios")
	encrypted := one(good)
	encrypted.Encrypted = new(true)
	windows := one(good)
	windows.Platform = new("Windows")
	sparc := one(good)
	sparc.Architecture = new("sparc")
	for name, test := range map[string]struct {
		code string
		in   *ec2types.ImportImageInput
	}{
		"nothing":          {model.CodeMissingParameter, &ec2types.ImportImageInput{}},
		"no source":        {model.CodeInvalidParameterCombination, one(ec2types.ImageDiskContainer{Format: new("RAW")})},
		"no format":        {model.CodeMissingParameter, one(ec2types.ImageDiskContainer{Url: good.Url})},
		"VirtualBox":       {model.CodeUnsupportedOperation, one(container(*good.Url, "VDI"))},
		"an OVA, and more": {model.CodeInvalidParameterCombination, &ec2types.ImportImageInput{DiskContainers: []ec2types.ImageDiskContainer{container(*good.Url, "OVA"), {Url: good.Url, Format: good.Format, DeviceName: new("/dev/sdb")}}}},
		"another scheme":   {model.CodeUnsupportedOperation, one(container("ftp://mirror.example/disk", "RAW"))},
		"no host":          {model.CodeInvalidParameterValue, one(container("https:///disk", "RAW"))},
		"a password":       {model.CodeInvalidParameterValue, one(container("https://me:secret@mirror.example/disk", "RAW"))},
		"no digest":        {model.CodeInvalidParameterValue, one(container("https://mirror.example/disk#md5:0", "RAW"))},
		"out of the bin":   {model.CodeInvalidParameterValue, one(container("file:///my-bucket/../../etc/passwd", "RAW"))},
		"no bucket":        {"InvalidS3Bucket", one(container("file:///../etc", "RAW"))},
		"no upload":        {model.CodeInvalidParameterValue, one(container("upload:sha256:"+strings.Repeat("0", 64), "RAW"))},
		"a bad device":     {model.CodeInvalidParameterValue, one(ec2types.ImageDiskContainer{Url: good.Url, Format: good.Format, DeviceName: new("C:")})},
		"another's":        {model.CodeSnapshotNotFound, one(ec2types.ImageDiskContainer{SnapshotId: new(w.snapshot(other, 1))})},
		"a name in use":    {model.CodeImageNameDuplicate, named},
		"arm64 by BIOS":    {model.CodeInvalidParameterCombination, arm},
		"an encrypted one": {model.CodeUnsupportedOperation, encrypted},
		"Windows":          {model.CodeUnsupportedOperation, windows},
		"SPARC":            {model.CodeInvalidParameterValue, sparc},
	} {
		t.Run(name, func(t *testing.T) { refused[ec2types.ImportImageOutput](w, w.me, test.code, "ImportImage", test.in) })
	}
	if got := must[ec2types.DescribeImportImageTasksOutput](w, "DescribeImportImageTasks", &ec2types.DescribeImportImageTasksInput{}).ImportImageTasks; len(got) != 1 {
		t.Errorf("refused calls left %d tasks", len(got)-1)
	}

	cancel := &ec2types.CancelImportTaskInput{ImportTaskId: &id, CancelReason: new("a mistake")}
	refused[ec2types.CancelImportTaskOutput](w, other, "InvalidConversionTaskId", "CancelImportTask", cancel)
	refused[ec2types.CancelImportTaskOutput](w, w.me, "InvalidConversionTaskId.Malformed", "CancelImportTask", &ec2types.CancelImportTaskInput{ImportTaskId: new("import-ami-1")})
	refused[ec2types.CancelImportTaskOutput](w, w.me, model.CodeMissingParameter, "CancelImportTask", &ec2types.CancelImportTaskInput{})
	if got := must[ec2types.CancelImportTaskOutput](w, "CancelImportTask", cancel); *got.PreviousState != "active" || *got.State != "deleting" {
		t.Errorf("got %+v", got)
	}
	refused[ec2types.DescribeImportImageTasksOutput](w, other, "InvalidConversionTaskId", "DescribeImportImageTasks", &ec2types.DescribeImportImageTasksInput{ImportTaskIds: []string{id}})
}

func TestExportImage(t *testing.T) {
	w := newImageWorld(t)
	data := w.snapshot(w.me, 2)
	image := must[ec2types.RegisterImageOutput](w, "RegisterImage", w.registration("web", w.snapshot(w.me, 8), mapping("/dev/sdf", ec2types.EbsBlockDevice{SnapshotId: &data}))).ImageId
	request := func(bucket, prefix string) *ec2types.ExportImageInput {
		in := &ec2types.ExportImageInput{ImageId: image, DiskImageFormat: new("VMDK"), S3ExportLocation: &ec2types.ExportTaskS3LocationRequest{S3Bucket: &bucket}}
		if prefix != "" {
			in.S3ExportLocation.S3Prefix = &prefix
		}
		return in
	}
	in := request("my-bucket", "a/")
	in.RoleName = new("vmimport") // as without
	in.ClientToken = new("once")
	again := *in
	out := must[ec2types.ExportImageOutput](w, "ExportImage", in)
	if *out.Status != "active" || *out.ImageId != *image || *out.S3ExportLocation.S3Prefix != "a/" || *out.DiskImageFormat != "VMDK" {
		t.Errorf("got %+v", out)
	}
	if got := must[ec2types.ExportImageOutput](w, "ExportImage", &again); *got.ExportImageTaskId != *out.ExportImageTaskId {
		t.Error("the same token made two tasks")
	}
	got := must[ec2types.DescribeExportImageTasksOutput](w, "DescribeExportImageTasks", &ec2types.DescribeExportImageTasksInput{ExportImageTaskIds: []string{*out.ExportImageTaskId}})
	if len(got.ExportImageTasks) != 1 || *got.ExportImageTasks[0].Progress != "0" {
		t.Errorf("got %+v", got.ExportImageTasks)
	}
	vhdx := request("my-bucket", "")
	vhdx.DiskImageFormat = new("VHDX") // which can be imported
	role := request("my-bucket", "")
	role.RoleName = new("another")
	for code, in := range map[string]*ec2types.ExportImageInput{
		"InvalidS3Bucket": request("..", ""), model.CodeInvalidParameterValue: request("my-bucket", "../"), model.CodeUnsupportedOperation: role,
	} {
		refused[ec2types.ExportImageOutput](w, w.me, code, "ExportImage", in)
	}
	refused[ec2types.ExportImageOutput](w, w.me, model.CodeInvalidParameterValue, "ExportImage", vhdx)
	arm := w.registration("arm", w.snapshot(w.me, 8))
	arm.Architecture = new("arm64")
	machine := request("my-bucket", "")
	machine.DiskImageFormat = new("OVA")
	if out := must[ec2types.ExportImageOutput](w, "ExportImage", machine); *out.DiskImageFormat != "OVA" {
		t.Errorf("got %+v", out)
	}
	machine.ImageId = must[ec2types.RegisterImageOutput](w, "RegisterImage", arm).ImageId
	refused[ec2types.ExportImageOutput](w, w.me, model.CodeUnsupportedOperation, "ExportImage", machine)
	refused[ec2types.ExportImageOutput](w, other, model.CodeImageIDNotFound, "ExportImage", request("my-bucket", ""))
	refused[ec2types.DescribeExportImageTasksOutput](w, other, "InvalidExportTaskID.NotFound", "DescribeExportImageTasks", &ec2types.DescribeExportImageTasksInput{ExportImageTaskIds: []string{*out.ExportImageTaskId}})
	refused[ec2types.DescribeExportImageTasksOutput](w, w.me, "InvalidExportTaskID.Malformed", "DescribeExportImageTasks", &ec2types.DescribeExportImageTasksInput{ExportImageTaskIds: []string{"x"}})
}
