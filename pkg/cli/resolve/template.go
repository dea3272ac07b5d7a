package resolve

import (
	"context"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/client"
	"github.com/bundt/bundt/pkg/model"
)

// LaunchTemplates returns every launch template that passes the filters.
func LaunchTemplates(ctx context.Context, c *client.Client, filters ...ec2types.Filter) ([]ec2types.LaunchTemplate, error) {
	return collect(c.DescribeLaunchTemplatesPages(ctx, &ec2types.DescribeLaunchTemplatesInput{Filters: filters}),
		func(p *ec2types.DescribeLaunchTemplatesOutput) []ec2types.LaunchTemplate { return p.LaunchTemplates })
}

// LaunchTemplateVersions returns the versions of the launch template that ref, an
// id or a name, means.
func LaunchTemplateVersions(ctx context.Context, c *client.Client, ref string, versions ...string) ([]ec2types.LaunchTemplateVersion, error) {
	in := &ec2types.DescribeLaunchTemplateVersionsInput{Versions: versions}
	in.LaunchTemplateId, in.LaunchTemplateName = LaunchTemplate(ref)
	return collect(c.DescribeLaunchTemplateVersionsPages(ctx, in),
		func(p *ec2types.DescribeLaunchTemplateVersionsOutput) []ec2types.LaunchTemplateVersion {
			return p.LaunchTemplateVersions
		})
}

// LaunchTemplate is how a request names the launch template that ref means: by its
// id or by its name; the other is nil.
func LaunchTemplate(ref string) (id, name *string) {
	if model.CheckID(model.LaunchTemplatePrefix, ref) == nil {
		return &ref, nil
	}
	return nil, &ref
}
