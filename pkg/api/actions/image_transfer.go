package actions

import (
	"context"
	"strconv"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
)

var (
	importKind = objectKind[model.ImportTask]{func(t *model.ImportTask) string { return t.ID }, isID(model.ImportPrefix), "InvalidConversionTaskId.Malformed", "InvalidConversionTaskId", "import task"}
	exportKind = objectKind[model.ExportTask]{func(t *model.ExportTask) string { return t.ID }, isID(model.ExportPrefix), "InvalidExportTaskID.Malformed", "InvalidExportTaskID.NotFound", "export task"}
)

// importRole is what EC2 reads and writes buckets as if a request does not say. Here
// buckets are the account's own directories, and need no role.
const importRole = "vmimport"

func (a *Actions) registerTransfers(t *api.Table) {
	api.Register(t, api.Action[ec2types.ImportImageInput, ec2types.ImportImageOutput]{
		Name: "ImportImage", Handler: a.importImage,
		Acts: []string{
			"Architecture", "BootMode", "ClientToken", "Description", "DiskContainers", "Encrypted=false", "Hypervisor=xen",
			"LicenseType=BYOL", "Platform=Linux", "RoleName=" + importRole, "TagSpecifications", "UsageOperation=RunInstances",
		},
	})
	api.Register(t, api.Action[bundttypes.AdoptDomainInput, bundttypes.AdoptDomainOutput]{
		Name: "AdoptDomain", Handler: a.adoptDomain, Acts: []string{"ClientToken", "Description", "Domain", "Name"},
	})
	api.Register(t, api.Action[ec2types.DescribeImportImageTasksInput, ec2types.DescribeImportImageTasksOutput]{
		Name: "DescribeImportImageTasks", Handler: a.describeImports, Acts: []string{"Filters", "ImportTaskIds", "MaxResults", "NextToken"},
	})
	api.Register(t, api.Action[ec2types.CancelImportTaskInput, ec2types.CancelImportTaskOutput]{
		Name: "CancelImportTask", Handler: a.cancelImport, Acts: []string{"CancelReason", "ImportTaskId"},
	})
	api.Register(t, api.Action[ec2types.ExportImageInput, ec2types.ExportImageOutput]{
		Name: "ExportImage", Handler: a.exportImage,
		Acts: []string{"ClientToken", "Description", "DiskImageFormat", "ImageId", "RoleName=" + importRole, "S3ExportLocation", "TagSpecifications"},
	})
	api.Register(t, api.Action[ec2types.DescribeExportImageTasksInput, ec2types.DescribeExportImageTasksOutput]{
		Name: "DescribeExportImageTasks", Handler: a.describeExports, Acts: []string{"ExportImageTaskIds", "Filters", "MaxResults", "NextToken"},
	})
}

func (a *Actions) importImage(ctx context.Context, in *ec2types.ImportImageInput) (*ec2types.ImportImageOutput, error) {
	tags, err := tagSpecs(in.TagSpecifications, "import-image-task")
	if err != nil {
		return nil, err
	}
	r := cloud.ImageImport{
		Description: ec2types.Value(in.Description), Arch: model.Arch(ec2types.Value(in.Architecture)), Mode: model.BootMode(ec2types.Value(in.BootMode)),
		Tags: tags["import-image-task"], ClientToken: ec2types.Value(in.ClientToken),
	}
	for _, c := range in.DiskContainers {
		d := model.ImportDisk{
			Device: ec2types.Value(c.DeviceName), Description: ec2types.Value(c.Description), Format: model.DiskFormat(ec2types.Value(c.Format)),
			URL: ec2types.Value(c.Url), SnapshotID: ec2types.Value(c.SnapshotId),
		}
		if b := c.UserBucket; b != nil {
			d.Bucket, d.Key = ec2types.Value(b.S3Bucket), ec2types.Value(b.S3Key)
		}
		r.Disks = append(r.Disks, d)
	}
	t, err := a.account(ctx).ImportImage(ctx, r)
	if err != nil {
		return nil, err
	}
	task := importOf(&t)
	return &ec2types.ImportImageOutput{
		Architecture: task.Architecture, Description: task.Description, Encrypted: task.Encrypted, Hypervisor: task.Hypervisor, ImageId: task.ImageId,
		ImportTaskId: task.ImportTaskId, Platform: task.Platform, Progress: task.Progress, SnapshotDetails: task.SnapshotDetails,
		Status: task.Status, StatusMessage: task.StatusMessage, Tags: task.Tags,
	}, nil
}

func (a *Actions) adoptDomain(ctx context.Context, in *bundttypes.AdoptDomainInput) (*bundttypes.AdoptDomainOutput, error) {
	m, err := a.node.Foreign(ctx, ec2types.Value(in.Domain))
	if err != nil {
		return nil, err
	}
	t, err := a.account(ctx).Adopt(ctx, &m, cloud.Adoption{
		Name: ec2types.Value(in.Name), Description: ec2types.Value(in.Description), ClientToken: ec2types.Value(in.ClientToken),
	})
	if err != nil {
		return nil, err
	}
	return &bundttypes.AdoptDomainOutput{ImageId: &t.ImageID, ImportTaskId: &t.ID}, nil
}

// taskFields are the filters of both kinds of tasks.
func taskFields[T any](state func(*T) model.TaskState) map[string]func(*T) []string {
	return map[string]func(*T) []string{"task-state": func(t *T) []string { return []string{string(state(t))} }}
}

func (a *Actions) describeImports(ctx context.Context, in *ec2types.DescribeImportImageTasksInput) (*ec2types.DescribeImportImageTasksOutput, error) {
	all, err := a.account(ctx).ImportTasks(ctx)
	if err != nil {
		return nil, err
	}
	page, next, err := describe(a, query[model.ImportTask]{
		action: "DescribeImportImageTasks", all: all, ids: in.ImportTaskIds, kind: importKind, filters: in.Filters,
		fields: taskFields(func(t *model.ImportTask) model.TaskState { return t.State }), tags: func(t *model.ImportTask) model.Tags { return t.Tags },
		max: in.MaxResults, token: in.NextToken, least: 1, most: 500,
	})
	if err != nil {
		return nil, err
	}
	out := &ec2types.DescribeImportImageTasksOutput{NextToken: next}
	for i := range page {
		out.ImportImageTasks = append(out.ImportImageTasks, importOf(&page[i]))
	}
	return out, nil
}

func importOf(t *model.ImportTask) ec2types.ImportImageTask {
	out := ec2types.ImportImageTask{
		Architecture: str(string(t.Arch)), BootMode: str(string(t.Mode)), Description: str(t.Description), Encrypted: ptr(false), Hypervisor: ptr("xen"),
		ImportTaskId: ptr(t.ID), Platform: ptr("Linux"), Status: ptr(string(t.State)), StatusMessage: str(t.Message), Tags: tagsOf(t.Tags),
	}
	if t.State == model.TaskActive {
		out.Progress = ptr(strconv.Itoa(t.Progress))
	}
	if t.State == model.TaskCompleted {
		out.ImageId = ptr(t.ImageID)
	}
	for _, d := range t.Disks {
		detail := ec2types.SnapshotDetail{
			Description: str(d.Description), DeviceName: ptr(d.Device), Format: str(string(d.Format)), SnapshotId: str(d.SnapshotID), Status: ptr(string(t.State)), Url: str(d.URL),
		}
		if d.SizeBytes != 0 {
			detail.DiskImageSize = ptr(float64(d.SizeBytes))
		}
		if d.URL == "" && d.Bucket != "" {
			detail.UserBucket = &ec2types.UserBucketDetails{S3Bucket: ptr(d.Bucket), S3Key: ptr(d.Key)}
		}
		out.SnapshotDetails = append(out.SnapshotDetails, detail)
	}
	return out
}

func (a *Actions) cancelImport(ctx context.Context, in *ec2types.CancelImportTaskInput) (*ec2types.CancelImportTaskOutput, error) {
	if in.ImportTaskId == nil {
		return nil, model.Errorf(model.CodeMissingParameter, "The request must contain the parameter ImportTaskId")
	}
	before, after, err := a.account(ctx).CancelImport(ctx, *in.ImportTaskId, ec2types.Value(in.CancelReason))
	return &ec2types.CancelImportTaskOutput{ImportTaskId: in.ImportTaskId, PreviousState: ptr(string(before)), State: ptr(string(after))}, err
}

func (a *Actions) exportImage(ctx context.Context, in *ec2types.ExportImageInput) (*ec2types.ExportImageOutput, error) {
	tags, err := tagSpecs(in.TagSpecifications, "export-image-task")
	if err != nil {
		return nil, err
	}
	t, err := a.account(ctx).ExportImage(ctx, cloud.ImageExport{
		ImageID: ec2types.Value(in.ImageId), Description: ec2types.Value(in.Description), Format: model.DiskFormat(ec2types.Value(in.DiskImageFormat)),
		Bucket: ec2types.Value(in.S3ExportLocation.S3Bucket), Prefix: ec2types.Value(in.S3ExportLocation.S3Prefix),
		Tags: tags["export-image-task"], ClientToken: ec2types.Value(in.ClientToken),
	})
	if err != nil {
		return nil, err
	}
	task := exportOf(&t)
	return &ec2types.ExportImageOutput{
		Description: task.Description, DiskImageFormat: in.DiskImageFormat, ExportImageTaskId: task.ExportImageTaskId, ImageId: task.ImageId,
		Progress: task.Progress, S3ExportLocation: task.S3ExportLocation, Status: task.Status, StatusMessage: task.StatusMessage, Tags: task.Tags,
	}, nil
}

func (a *Actions) describeExports(ctx context.Context, in *ec2types.DescribeExportImageTasksInput) (*ec2types.DescribeExportImageTasksOutput, error) {
	all, err := a.account(ctx).ExportTasks(ctx)
	if err != nil {
		return nil, err
	}
	page, next, err := describe(a, query[model.ExportTask]{
		action: "DescribeExportImageTasks", all: all, ids: in.ExportImageTaskIds, kind: exportKind, filters: in.Filters,
		fields: taskFields(func(t *model.ExportTask) model.TaskState { return t.State }), tags: func(t *model.ExportTask) model.Tags { return t.Tags },
		max: in.MaxResults, token: in.NextToken, least: 1, most: 500,
	})
	if err != nil {
		return nil, err
	}
	out := &ec2types.DescribeExportImageTasksOutput{NextToken: next}
	for i := range page {
		out.ExportImageTasks = append(out.ExportImageTasks, exportOf(&page[i]))
	}
	return out, nil
}

func exportOf(t *model.ExportTask) ec2types.ExportImageTask {
	out := ec2types.ExportImageTask{
		Description: str(t.Description), ExportImageTaskId: ptr(t.ID), ImageId: ptr(t.ImageID), Status: ptr(string(t.State)), StatusMessage: str(t.Message),
		S3ExportLocation: &ec2types.ExportTaskS3Location{S3Bucket: ptr(t.Bucket), S3Prefix: str(t.Prefix)}, Tags: tagsOf(t.Tags),
	}
	if t.State == model.TaskActive {
		out.Progress = ptr(strconv.Itoa(t.Progress))
	}
	return out
}
