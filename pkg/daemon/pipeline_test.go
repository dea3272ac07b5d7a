package daemon_test

import (
	"fmt"
	"testing"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
)

// TestPipeline: a pipeline builds through the API, from what it was given to an image
// that others have, and nothing but what it keeps is left.
func TestPipeline(t *testing.T) {
	c, g := builderCloud(t)
	ctx := t.Context()
	made, err := c.CreateImagePipeline(ctx, &bundttypes.CreateImagePipelineInput{
		Name: new("web"), ContextDigest: c.upload(recipeWith(step("one", "do one"), "", step("two", "try it"))), Keep: new(int32(1)),
		Schedule: &bundttypes.PipelineSchedule{ScheduleExpression: new("cron(0 3 1 1 ? *)"), Timezone: new("Europe/Berlin")},
		Distribution: &bundttypes.DistributionConfiguration{
			AmiTags: []ec2types.Tag{{Key: new("team"), Value: new("a")}}, LaunchPermission: &bundttypes.PipelineLaunchPermission{UserIds: []string{"123456789012"}},
			Registries: []bundttypes.RegistryDistribution{{Reference: new("127.0.0.1:1/web"), Username: new("me"), Password: new("secret"), PlainHttp: new(true)}},
		},
	})
	c.must(err)
	if p := made.ImagePipeline; p.Status != "ENABLED" || p.NextRunAt == nil || *p.Schedule.PipelineExecutionStartCondition != string(model.StartOnChanges) || p.Distribution.Registries[0].Password != nil {
		t.Errorf("%+v", p)
	}
	run := func() (r bundttypes.ImagePipelineExecution) {
		out, err := c.StartImagePipelineExecution(ctx, &bundttypes.StartImagePipelineExecutionInput{ImagePipeline: new("web")})
		c.must(err)
		c.until("it is built and shared", func() error {
			found, err := c.DescribeImagePipelineExecutions(ctx, &bundttypes.DescribeImagePipelineExecutionsInput{ExecutionIds: []string{out.Execution.ExecutionId}})
			if err != nil {
				return err
			}
			if r = found.Executions[0]; len(r.Distributions) != 2 || r.Distributions[0].State != "completed" || r.Distributions[1].Attempts == 0 {
				return fmt.Errorf("%+v", r)
			}
			return nil
		})
		return r
	}
	r := run()
	if r.State != "distributing" || r.Version != "1.0.1" || r.ParentImageId == "" || r.Distributions[1].StateReason == "" || r.Distributions[1].NextAt == nil {
		t.Errorf("%+v", r)
	}
	found, err := c.DescribeImages(ctx, &ec2types.DescribeImagesInput{ImageIds: []string{r.ImageId}})
	c.must(err)
	if i := found.Images[0]; *i.Name != "web-1.0.1-x86_64" || *i.State != "available" {
		t.Errorf("%+v", i)
	}
	permissions, err := c.DescribeImageAttribute(ctx, &ec2types.DescribeImageAttributeInput{ImageId: &r.ImageId, Attribute: new(ec2types.ImageAttributeNameLaunchPermission)})
	c.must(err)
	if len(permissions.LaunchPermissions) != 1 || *permissions.LaunchPermissions[0].UserId != "123456789012" {
		t.Errorf("%+v", permissions.LaunchPermissions)
	}
	_, err = c.StartImagePipelineExecution(ctx, &bundttypes.StartImagePipelineExecutionInput{ImagePipeline: new("web")})
	fails(t, "IncorrectState", err)
	if len(g.ran()) != 2 {
		t.Errorf("ran %q", g.ran())
	}
	for code, in := range map[string]*bundttypes.UpdateImagePipelineInput{
		"InvalidImagePipelineID.NotFound": {ImagePipeline: new("none"), Keep: new(int32(1))},
		"InvalidParameterValue":           {ImagePipeline: new("web"), Status: new("OFF")},
		"InvalidRecipe":                   {ImagePipeline: new("web"), ContextDigest: c.upload(recipeWith("", "", ""))},
	} {
		_, err := c.UpdateImagePipeline(ctx, in)
		fails(t, code, err)
	}
	_, err = c.UpdateImagePipeline(ctx, &bundttypes.UpdateImagePipelineInput{ImagePipeline: new("web"), Distribution: &bundttypes.DistributionConfiguration{Regions: []string{"eu-central-1"}}})
	fails(t, "InvalidParameterValue", err)
	updated, err := c.UpdateImagePipeline(ctx, &bundttypes.UpdateImagePipelineInput{ImagePipeline: new("web"), Schedule: &bundttypes.PipelineSchedule{ScheduleExpression: new("")}, Status: new("DISABLED")})
	c.must(err)
	if p := updated.ImagePipeline; p.Schedule != nil || p.Status != "DISABLED" || p.Keep != 1 || p.Distribution.LaunchPermission == nil {
		t.Errorf("%+v", p)
	}
	_, err = c.RetryImageDistribution(ctx, &bundttypes.RetryImageDistributionInput{ExecutionId: &r.ExecutionId})
	c.must(err)
	_, err = c.RetryImageDistribution(ctx, &bundttypes.RetryImageDistributionInput{ExecutionId: new("pipeline-run-00000000000000000")})
	fails(t, "InvalidImagePipelineExecutionID.NotFound", err)
}
