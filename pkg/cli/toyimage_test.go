package cli_test

import (
	"slices"
	"strings"
	"time"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
)

// onImage changes one of the toy cloud's images.
func (c *toyCloud) onImage(id *string, change func(*ec2types.Image)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.images, func(i *ec2types.Image) bool { return *i.ImageId == *id })
	if i < 0 {
		return model.Errorf(model.CodeImageIDNotFound, "The image id '[%s]' does not exist", *id)
	}
	change(c.images[i])
	return nil
}

// imageTable is what the toy cloud does to images; their descriptions tell what
// was asked for.
func (c *toyCloud) imageTable(t *api.Table) {
	ids := []string{"ImageId"}
	note := func(id *string, text string) error {
		return c.onImage(id, func(i *ec2types.Image) { i.Description = &text })
	}
	register(t, "ModifyImageAttribute", []string{"ImageId", "Attribute", "OperationType", "UserIds", "UserGroups"}, func(in *ec2types.ModifyImageAttributeInput) (*ec2types.ModifyImageAttributeOutput, error) {
		return nil, note(in.ImageId, *in.OperationType+" "+strings.Join(append(in.UserIds, in.UserGroups...), ","))
	})
	register(t, "ResetImageAttribute", []string{"ImageId", "Attribute"}, func(in *ec2types.ResetImageAttributeInput) (*ec2types.ResetImageAttributeOutput, error) {
		return nil, note(in.ImageId, "reset "+*in.Attribute)
	})
	register(t, "EnableImageDeprecation", []string{"ImageId", "DeprecateAt"}, func(in *ec2types.EnableImageDeprecationInput) (*ec2types.EnableImageDeprecationOutput, error) {
		return nil, note(in.ImageId, "deprecated "+in.DeprecateAt.Format(time.DateOnly))
	})
	register(t, "DisableImageDeprecation", ids, func(in *ec2types.DisableImageDeprecationInput) (*ec2types.DisableImageDeprecationOutput, error) {
		return nil, note(in.ImageId, "never deprecated")
	})
	register(t, "EnableImageDeregistrationProtection", []string{"ImageId", "WithCooldown"}, func(in *ec2types.EnableImageDeregistrationProtectionInput) (*ec2types.EnableImageDeregistrationProtectionOutput, error) {
		return nil, note(in.ImageId, "protected")
	})
	register(t, "DisableImageDeregistrationProtection", ids, func(in *ec2types.DisableImageDeregistrationProtectionInput) (*ec2types.DisableImageDeregistrationProtectionOutput, error) {
		return nil, note(in.ImageId, "unprotected")
	})
	register(t, "DisableImage", ids, func(in *ec2types.DisableImageInput) (*ec2types.DisableImageOutput, error) {
		return nil, note(in.ImageId, "disabled")
	})
	register(t, "EnableImage", ids, func(in *ec2types.EnableImageInput) (*ec2types.EnableImageOutput, error) {
		return nil, note(in.ImageId, "enabled")
	})
	register(t, "CopyImage", []string{"SourceImageId", "SourceRegion", "Name", "Description", "CopyImageTags"}, func(in *ec2types.CopyImageInput) (*ec2types.CopyImageOutput, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if *in.SourceRegion == "west-1" && *in.SourceImageId != "ami-00000000000000077" {
			return nil, model.Errorf(model.CodeImageIDNotFound, "The region west-1 answered: there is no %s", *in.SourceImageId)
		}
		return &ec2types.CopyImageOutput{ImageId: c.addImage(model.NewID(model.ImagePrefix), *in.Name, "x86_64").ImageId}, nil
	})
	register(t, "ListImagesInRecycleBin", ids[:0], func(*ec2types.ListImagesInRecycleBinInput) (*ec2types.ListImagesInRecycleBinOutput, error) {
		return &ec2types.ListImagesInRecycleBinOutput{Images: []ec2types.ImageRecycleBinInfo{{
			ImageId: new("ami-0123456789abcdef0"), Name: new("gone"), RecycleBinExitTime: new(time.Now().Add(49 * time.Hour)),
		}}}, nil
	})
	register(t, "RestoreImageFromRecycleBin", ids, func(*ec2types.RestoreImageFromRecycleBinInput) (*ec2types.RestoreImageFromRecycleBinOutput, error) {
		return nil, nil
	})
	register(t, "ModifyImageRetention", []string{"RetentionDays"}, func(in *bundttypes.ModifyImageRetentionInput) (*bundttypes.ImageRetention, error) {
		return &bundttypes.ImageRetention{RetentionDays: *in.RetentionDays}, nil
	})
	register(t, "DescribeImageRetention", nil, func(*bundttypes.DescribeImageRetentionInput) (*bundttypes.ImageRetention, error) {
		return &bundttypes.ImageRetention{}, nil
	})
	register(t, "ImportImage", []string{"ClientToken", "DiskContainers", "TagSpecifications", "Architecture", "BootMode", "Description"}, c.importImage)
	register(t, "DescribeImportImageTasks", []string{"ImportTaskIds"}, func(in *ec2types.DescribeImportImageTasksInput) (*ec2types.DescribeImportImageTasksOutput, error) {
		t := ec2types.ImportImageTask{Status: new("completed"), ImageId: new("ami-" + in.ImportTaskIds[0])}
		if in.ImportTaskIds[0] == "QCOW2" {
			t = ec2types.ImportImageTask{Status: new("deleted"), StatusMessage: new("it has a backing file")}
		}
		return &ec2types.DescribeImportImageTasksOutput{ImportImageTasks: []ec2types.ImportImageTask{t}}, nil
	})
	register(t, "AdoptDomain", []string{"ClientToken", "Description", "Domain", "Name"}, func(in *bundttypes.AdoptDomainInput) (*bundttypes.AdoptDomainOutput, error) {
		return &bundttypes.AdoptDomainOutput{ImportTaskId: new(*in.Domain + "-as-" + ec2types.Value(in.Name))}, nil
	})
	register(t, "ExportImage", []string{"ClientToken", "DiskImageFormat", "ImageId", "S3ExportLocation"}, func(*ec2types.ExportImageInput) (*ec2types.ExportImageOutput, error) {
		return &ec2types.ExportImageOutput{ExportImageTaskId: new("export-ami-1")}, nil
	})
	register(t, "DescribeExportImageTasks", []string{"ExportImageTaskIds"}, func(*ec2types.DescribeExportImageTasksInput) (*ec2types.DescribeExportImageTasksOutput, error) {
		return &ec2types.DescribeExportImageTasksOutput{ExportImageTasks: []ec2types.ExportImageTask{{Status: new("completed")}}}, nil
	})
}

// importImage names the task by the disk's format.
func (c *toyCloud) importImage(in *ec2types.ImportImageInput) (*ec2types.ImportImageOutput, error) {
	return &ec2types.ImportImageOutput{ImportTaskId: in.DiskContainers[0].Format}, nil
}
