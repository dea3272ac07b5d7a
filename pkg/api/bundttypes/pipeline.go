package bundttypes

import (
	"time"

	"github.com/bundt/bundt/pkg/api/ec2types"
)

// PipelineSchedule is when a pipeline runs by itself.
// https://docs.aws.amazon.com/imagebuilder/latest/APIReference/API_Schedule.html
type PipelineSchedule struct {
	// PipelineExecutionStartCondition is EXPRESSION_MATCH_ONLY or, by default,
	// EXPRESSION_MATCH_AND_DEPENDENCY_UPDATES_AVAILABLE.
	PipelineExecutionStartCondition *string `json:"PipelineExecutionStartCondition,omitempty" query:"PipelineExecutionStartCondition" xml:"pipelineExecutionStartCondition,omitempty"`
	ScheduleExpression              *string `json:"ScheduleExpression,omitempty" query:"ScheduleExpression" xml:"scheduleExpression,omitempty"` // cron(MINUTE HOUR DAY MONTH WEEKDAY YEAR); "" for none
	Timezone                        *string `json:"Timezone,omitempty" query:"Timezone" xml:"timezone,omitempty"`                               // of the IANA database; default: UTC
}

// PipelineLaunchPermission is who may launch a pipeline's images.
type PipelineLaunchPermission struct {
	UserGroups []string `json:"UserGroups,omitzero" query:"UserGroup" xml:"userGroups>item"` // all
	UserIds    []string `json:"UserIds,omitzero" query:"UserId" xml:"userIds>item"`          // accounts
}

// RegistryDistribution is an OCI registry that a pipeline's images are sent to.
type RegistryDistribution struct {
	Password  *string `json:"Password,omitempty" query:"Password" sensitive:"true"` // never shown
	PlainHttp *bool   `json:"PlainHttp,omitempty" query:"PlainHttp" xml:"plainHttp,omitempty"`
	Reference *string `json:"Reference,omitempty" query:"Reference" xml:"reference" required:"true"` // template of HOST[:PORT]/PATH[:TAG]
	Sign      *bool   `json:"Sign,omitempty" query:"Sign" xml:"sign,omitempty"`                      // with the account's key
	Username  *string `json:"Username,omitempty" query:"Username" xml:"username,omitempty"`
}

// DistributionConfiguration is what becomes of a pipeline's images.
// https://docs.aws.amazon.com/imagebuilder/latest/APIReference/API_AmiDistributionConfiguration.html
type DistributionConfiguration struct {
	AmiTags          []ec2types.Tag            `json:"AmiTags,omitzero" query:"AmiTag" xml:"amiTags>item"`
	LaunchPermission *PipelineLaunchPermission `json:"LaunchPermission,omitempty" query:"LaunchPermission" xml:"launchPermission,omitempty"`
	Name             *string                   `json:"Name,omitempty" query:"Name" xml:"name,omitempty"`           // template of the images' names
	Regions          []string                  `json:"Regions,omitzero" query:"Region" xml:"regions>item"`         // beside this one, of DescribeRegions; each copies the images
	Registries       []RegistryDistribution    `json:"Registries,omitzero" query:"Registry" xml:"registries>item"` // in this order
}

// ImagePipeline builds images of one recipe again and again.
type ImagePipeline struct {
	Architecture     string                     `json:"Architecture" xml:"architecture"`
	ContextDigest    string                     `json:"ContextDigest" xml:"contextDigest"`
	CreatedAt        time.Time                  `json:"CreatedAt" xml:"createdAt"`
	Description      string                     `json:"Description,omitempty" xml:"description,omitempty"`
	Distribution     *DistributionConfiguration `json:"Distribution,omitempty" xml:"distribution,omitempty"`
	Failures         int32                      `json:"Failures" xml:"failures"` // since it last did not fail
	ImagePipelineId  string                     `json:"ImagePipelineId" xml:"imagePipelineId"`
	Keep             int32                      `json:"Keep" xml:"keep"` // how many images stay; 0: all
	LastRunAt        *time.Time                 `json:"LastRunAt,omitempty" xml:"lastRunAt,omitempty"`
	Name             string                     `json:"Name" xml:"name"`
	NextRunAt        *time.Time                 `json:"NextRunAt,omitempty" xml:"nextRunAt,omitempty"` // by its schedule, if its start condition holds then
	PassedOverAt     *time.Time                 `json:"PassedOverAt,omitempty" xml:"passedOverAt,omitempty"`
	PassedOverReason string                     `json:"PassedOverReason,omitempty" xml:"passedOverReason,omitempty"` // why nothing was built then
	RecipeName       string                     `json:"RecipeName" xml:"recipeName"`
	RecipeVersion    string                     `json:"RecipeVersion" xml:"recipeVersion"`
	Schedule         *PipelineSchedule          `json:"Schedule,omitempty" xml:"schedule,omitempty"`
	Status           string                     `json:"Status" xml:"status"` // ENABLED or DISABLED
	UpdatedAt        time.Time                  `json:"UpdatedAt" xml:"updatedAt"`
}

// CreateImagePipelineInput is the request of CreateImagePipeline.
type CreateImagePipelineInput struct {
	Architecture  *string                    `json:"Architecture,omitempty" query:"Architecture" enum:"ArchitectureValues"` // default: the recipe's only one
	ClientToken   *string                    `json:"ClientToken,omitempty" query:"ClientToken"`
	ContextDigest *string                    `json:"ContextDigest,omitempty" query:"ContextDigest" required:"true"` // uploaded tar of the recipe's directory
	Description   *string                    `json:"Description,omitempty" query:"Description"`
	Distribution  *DistributionConfiguration `json:"Distribution,omitempty" query:"Distribution"`
	DryRun        *bool                      `json:"DryRun,omitempty" query:"DryRun"`
	Keep          *int32                     `json:"Keep,omitempty" query:"Keep"` // how many of its newest images stay; default: all
	Name          *string                    `json:"Name,omitempty" query:"Name" required:"true"`
	Schedule      *PipelineSchedule          `json:"Schedule,omitempty" query:"Schedule"` // default: none, it runs when it is started
	Status        *string                    `json:"Status,omitempty" query:"Status"`     // ENABLED, the default, or DISABLED
}

// CreateImagePipelineOutput is the response of CreateImagePipeline.
type CreateImagePipelineOutput struct {
	ImagePipeline ImagePipeline `json:"ImagePipeline" xml:"imagePipeline"`
}

// UpdateImagePipelineInput is the request of UpdateImagePipeline: what is not given stays.
type UpdateImagePipelineInput struct {
	ContextDigest *string                    `json:"ContextDigest,omitempty" query:"ContextDigest"`
	Description   *string                    `json:"Description,omitempty" query:"Description"`
	Distribution  *DistributionConfiguration `json:"Distribution,omitempty" query:"Distribution"` // instead of all of the one before
	DryRun        *bool                      `json:"DryRun,omitempty" query:"DryRun"`
	ImagePipeline *string                    `json:"ImagePipeline,omitempty" query:"ImagePipeline" required:"true"` // id or name
	Keep          *int32                     `json:"Keep,omitempty" query:"Keep"`
	Schedule      *PipelineSchedule          `json:"Schedule,omitempty" query:"Schedule"` // instead of all of the one before
	Status        *string                    `json:"Status,omitempty" query:"Status"`
}

// UpdateImagePipelineOutput is the response of UpdateImagePipeline.
type UpdateImagePipelineOutput struct {
	ImagePipeline ImagePipeline `json:"ImagePipeline" xml:"imagePipeline"`
}

// DeleteImagePipelineInput is the request of DeleteImagePipeline. Its images stay.
type DeleteImagePipelineInput struct {
	DryRun        *bool   `json:"DryRun,omitempty" query:"DryRun"`
	ImagePipeline *string `json:"ImagePipeline,omitempty" query:"ImagePipeline" required:"true"` // id or name
}

// DeleteImagePipelineOutput is the response of DeleteImagePipeline.
type DeleteImagePipelineOutput struct{}

// DescribeImagePipelinesInput is the request of DescribeImagePipelines.
type DescribeImagePipelinesInput struct {
	ImagePipelines []string `json:"ImagePipelines,omitzero" query:"ImagePipeline"` // ids or names; all if there are none
}

// DescribeImagePipelinesOutput is the response of DescribeImagePipelines, by name.
type DescribeImagePipelinesOutput struct {
	ImagePipelines []ImagePipeline `json:"ImagePipelines,omitzero" xml:"imagePipelineSet>item"`
}

// StartImagePipelineExecutionInput is the request of StartImagePipelineExecution.
type StartImagePipelineExecutionInput struct {
	ClientToken   *string `json:"ClientToken,omitempty" query:"ClientToken"`
	DryRun        *bool   `json:"DryRun,omitempty" query:"DryRun"`
	ImagePipeline *string `json:"ImagePipeline,omitempty" query:"ImagePipeline" required:"true"` // id or name
}

// StartImagePipelineExecutionOutput is the response of StartImagePipelineExecution.
type StartImagePipelineExecutionOutput struct {
	Execution ImagePipelineExecution `json:"Execution" xml:"execution"`
}

// DescribeImagePipelineExecutionsInput is the request of DescribeImagePipelineExecutions.
type DescribeImagePipelineExecutionsInput struct {
	ExecutionIds  []string `json:"ExecutionIds,omitzero" query:"ExecutionId"`
	ImagePipeline *string  `json:"ImagePipeline,omitempty" query:"ImagePipeline"` // id or name; default: of all pipelines
	MaxResults    *int32   `json:"MaxResults,omitempty" query:"MaxResults"`
	NextToken     *string  `json:"NextToken,omitempty" query:"NextToken"`
}

// DescribeImagePipelineExecutionsOutput is the response of
// DescribeImagePipelineExecutions: the newest come first.
type DescribeImagePipelineExecutionsOutput struct {
	Executions []ImagePipelineExecution `json:"Executions,omitzero" xml:"executionSet>item"`
	NextToken  *string                  `json:"NextToken,omitempty" xml:"nextToken,omitempty"`
}

// ImagePipelineExecution is one run of a pipeline.
type ImagePipelineExecution struct {
	BuildId         string              `json:"BuildId,omitempty" xml:"buildId,omitempty"`
	CreatedAt       time.Time           `json:"CreatedAt" xml:"createdAt"`
	Distributions   []ImageDistribution `json:"Distributions,omitzero" xml:"distributionSet>item"`
	DueAt           *time.Time          `json:"DueAt,omitempty" xml:"dueAt,omitempty"` // time of the schedule; none if it was started
	ExecutionId     string              `json:"ExecutionId" xml:"executionId"`
	FinishedAt      *time.Time          `json:"FinishedAt,omitempty" xml:"finishedAt,omitempty"`
	ImageId         string              `json:"ImageId,omitempty" xml:"imageId,omitempty"`
	ImageName       string              `json:"ImageName" xml:"imageName"`
	ImagePipelineId string              `json:"ImagePipelineId" xml:"imagePipelineId"`
	PackagesDigest  string              `json:"PackagesDigest,omitempty" xml:"packagesDigest,omitempty"` // of the distribution's lists of packages
	ParentImageId   string              `json:"ParentImageId,omitempty" xml:"parentImageId,omitempty"`
	RecipeDigest    string              `json:"RecipeDigest" xml:"recipeDigest"` // of the recipe's directory
	State           string              `json:"State" xml:"state"`               // model.RunState
	StateReason     string              `json:"StateReason,omitempty" xml:"stateReason,omitempty"`
	Version         string              `json:"Version" xml:"version"`
}

// ImageDistribution is one part of what becomes of a run's image.
type ImageDistribution struct {
	Attempts    int32      `json:"Attempts" xml:"attempts"` // that have failed
	FinishedAt  *time.Time `json:"FinishedAt,omitempty" xml:"finishedAt,omitempty"`
	ImageId     string     `json:"ImageId,omitempty" xml:"imageId,omitempty"`         // of the copy in another region
	Kind        string     `json:"Kind" xml:"kind"`                                   // "launch-permission", "registry" or "region"
	NextAt      *time.Time `json:"NextAt,omitempty" xml:"nextAt,omitempty"`           // when it is tried again
	State       string     `json:"State" xml:"state"`                                 // model.DeliveryState
	StateReason string     `json:"StateReason,omitempty" xml:"stateReason,omitempty"` // of the last failure
	Target      string     `json:"Target" xml:"target"`
	TaskId      string     `json:"TaskId,omitempty" xml:"taskId,omitempty"` // of the registry
}

// RetryImageDistributionInput is the request of RetryImageDistribution: try what has
// failed of a run's distribution again, now.
type RetryImageDistributionInput struct {
	DryRun      *bool   `json:"DryRun,omitempty" query:"DryRun"`
	ExecutionId *string `json:"ExecutionId,omitempty" query:"ExecutionId" required:"true"`
}

// RetryImageDistributionOutput is the response of RetryImageDistribution.
type RetryImageDistributionOutput struct {
	Execution ImagePipelineExecution `json:"Execution" xml:"execution"`
}
