package cli_test

import (
	"strings"
	"time"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
)

// pipelineTable is what the toy cloud has of pipelines: "web", whose runs succeed but for
// their distribution, and "broken", whose runs fail.
func pipelineTable(t *api.Table) {
	next := made.Add(15 * time.Hour)
	web := bundttypes.ImagePipeline{
		ImagePipelineId: "pipeline-1", Name: "web", RecipeName: "web", RecipeVersion: "2.1.0", Architecture: "x86_64", Status: "ENABLED", CreatedAt: made, NextRunAt: &next,
		Schedule:         &bundttypes.PipelineSchedule{ScheduleExpression: new("cron(0 3 * * ? *)"), Timezone: new("Europe/Berlin"), PipelineExecutionStartCondition: new(string(model.StartOnChanges))},
		PassedOverReason: "nothing has changed",
	}
	execution := func(id string) bundttypes.ImagePipelineExecution {
		r := bundttypes.ImagePipelineExecution{
			ExecutionId: id, ImagePipelineId: "pipeline-1", Version: "2.1.7", State: "available", ImageId: "ami-1", ImageName: "web-2.1.7-x86_64", BuildId: "build-1", CreatedAt: made,
			StateReason:   "1 of 2 parts of the distribution failed: registry.test/web: away",
			Distributions: []bundttypes.ImageDistribution{{Target: "123456789012", State: "completed"}, {Target: "registry.test/web", State: "failed"}},
		}
		if strings.Contains(id, "broken") {
			r.State, r.StateReason = "failed", "as the test wants"
		}
		return r
	}
	parts := []string{"ContextDigest", "Description", "Distribution", "Keep", "Schedule", "Status"}
	register(t, "CreateImagePipeline", append([]string{"Architecture", "ClientToken", "Name"}, parts...), func(in *bundttypes.CreateImagePipelineInput) (*bundttypes.CreateImagePipelineOutput, error) {
		return &bundttypes.CreateImagePipelineOutput{ImagePipeline: web}, nil
	})
	register(t, "UpdateImagePipeline", append([]string{"ImagePipeline"}, parts...), func(*bundttypes.UpdateImagePipelineInput) (*bundttypes.UpdateImagePipelineOutput, error) {
		return &bundttypes.UpdateImagePipelineOutput{ImagePipeline: web}, nil
	})
	register(t, "DeleteImagePipeline", []string{"ImagePipeline"}, func(*bundttypes.DeleteImagePipelineInput) (*bundttypes.DeleteImagePipelineOutput, error) {
		return nil, nil
	})
	register(t, "DescribeImagePipelines", []string{"ImagePipelines"}, func(in *bundttypes.DescribeImagePipelinesInput) (*bundttypes.DescribeImagePipelinesOutput, error) {
		if len(in.ImagePipelines) > 0 && in.ImagePipelines[0] != "web" {
			return nil, model.Errorf("InvalidImagePipelineID.NotFound", "The image pipeline '%s' does not exist", in.ImagePipelines[0])
		}
		return &bundttypes.DescribeImagePipelinesOutput{ImagePipelines: []bundttypes.ImagePipeline{web}}, nil
	})
	register(t, "StartImagePipelineExecution", []string{"ImagePipeline", "ClientToken"}, func(in *bundttypes.StartImagePipelineExecutionInput) (*bundttypes.StartImagePipelineExecutionOutput, error) {
		return &bundttypes.StartImagePipelineExecutionOutput{Execution: execution("pipeline-run-" + *in.ImagePipeline)}, nil
	})
	register(t, "DescribeImagePipelineExecutions", []string{"ExecutionIds", "ImagePipeline", "MaxResults", "NextToken"}, func(in *bundttypes.DescribeImagePipelineExecutionsInput) (*bundttypes.DescribeImagePipelineExecutionsOutput, error) {
		id := "pipeline-run-" + ec2types.Value(in.ImagePipeline)
		if len(in.ExecutionIds) > 0 {
			id = in.ExecutionIds[0]
		}
		return &bundttypes.DescribeImagePipelineExecutionsOutput{Executions: []bundttypes.ImagePipelineExecution{execution(id)}}, nil
	})
	register(t, "RetryImageDistribution", []string{"ExecutionId"}, func(in *bundttypes.RetryImageDistributionInput) (*bundttypes.RetryImageDistributionOutput, error) {
		return &bundttypes.RetryImageDistributionOutput{Execution: execution(*in.ExecutionId)}, nil
	})
}
