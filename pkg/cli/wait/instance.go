package wait

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/client"
	"github.com/bundt/bundt/pkg/model"
)

// Reachable is the condition that an instance runs and its guest answers.
const Reachable = "reachable"

// Conditions lists what one can wait for an instance to be.
func Conditions() []string {
	return []string{string(model.InstanceRunning), string(model.InstanceStopped), string(model.InstanceTerminated), Reachable}
}

// Instances returns a check that is done when all instances of these ids are as
// the condition says. It fails when one of them can no longer get there.
func Instances(c *client.Client, ids []string, condition string) Check {
	return func(ctx context.Context) (bool, string, error) {
		all := true
		out, err := c.DescribeInstanceStatus(ctx, &ec2types.DescribeInstanceStatusInput{
			InstanceIds: ids, IncludeAllInstances: new(true),
		})
		if err != nil {
			return false, "", err
		}
		seen := map[string]ec2types.InstanceStatus{}
		for _, s := range out.InstanceStatuses {
			seen[ec2types.Value(s.InstanceId)] = s
		}
		var states []string
		for _, id := range ids {
			state, reachability := stateOf(seen[id])
			if err := possible(id, state, condition); err != nil {
				return false, "", explain(ctx, c, id, err)
			}
			reached := state == condition || condition == Reachable &&
				state == string(model.InstanceRunning) && reachability == string(model.ReachabilityPassed)
			all = all && reached
			if condition == Reachable && state == string(model.InstanceRunning) && reachability != "" {
				state += ", reachability " + reachability
			}
			if !reached && !slices.Contains(states, state) {
				states = append(states, state)
			}
		}
		return all, strings.Join(states, "; "), nil
	}
}

func stateOf(s ec2types.InstanceStatus) (state, reachability string) {
	if s.InstanceState != nil {
		state = ec2types.Value(s.InstanceState.Name)
	}
	if s.InstanceStatus != nil {
		for _, d := range s.InstanceStatus.Details {
			if ec2types.Value(d.Name) == "reachability" {
				reachability = ec2types.Value(d.Status)
			}
		}
	}
	return state, reachability
}

// possible returns an error if an instance in that state cannot come to meet the
// condition without somebody asking for it.
func possible(id, state, condition string) error {
	s := model.InstanceState(state)
	dead := s == model.InstanceTerminated || s == model.InstanceShuttingDown
	off := s == model.InstanceStopped || s == model.InstanceStopping
	switch condition {
	case string(model.InstanceTerminated):
		return nil
	case string(model.InstanceStopped):
		if !dead {
			return nil
		}
	default:
		if !dead && !off {
			return nil
		}
	}
	return model.Errorf(model.CodeIncorrectInstanceState, "instance %s is %s and will not become %s", id, state, condition)
}

// explain adds the instance's own reason to err.
func explain(ctx context.Context, c *client.Client, id string, err error) error {
	out, describeErr := c.DescribeInstances(ctx, &ec2types.DescribeInstancesInput{InstanceIds: []string{id}})
	if describeErr != nil || len(out.Reservations) == 0 || len(out.Reservations[0].Instances) == 0 {
		return err
	}
	i := out.Reservations[0].Instances[0]
	reason := ec2types.Value(i.StateTransitionReason)
	if i.StateReason != nil && ec2types.Value(i.StateReason.Message) != "" {
		reason = ec2types.Value(i.StateReason.Message)
	}
	if reason == "" {
		return err
	}
	return fmt.Errorf("%w: %s", err, reason)
}

// Unreached tells who waited in vain for instances to be reachable how to find out
// why; other errors stay as they are.
func Unreached(err error, ids []string, condition string) error {
	if condition != Reachable || len(ids) == 0 || !errors.Is(err, failure.ErrTimeout) {
		return err
	}
	return failure.WithHint(err, "it goes on in the background; bundt doctor instance %s says what it lacks, --timeout sets how long to wait", ids[0])
}

// Images returns a check that is done when the image is available. It fails when
// the image has failed.
func Images(c *client.Client, id string) Check {
	return func(ctx context.Context) (bool, string, error) {
		out, err := c.DescribeImages(ctx, &ec2types.DescribeImagesInput{ImageIds: []string{id}})
		if err != nil {
			return false, "", err
		}
		if len(out.Images) == 0 {
			return false, "", model.Errorf(model.CodeImageIDNotFound, "The image id '[%s]' does not exist", id)
		}
		state := ec2types.Value(out.Images[0].State)
		switch model.ImageState(state) {
		case model.ImageAvailable:
			return true, state, nil
		case model.ImagePending:
			return false, state, nil
		}
		reason := ""
		if r := out.Images[0].StateReason; r != nil {
			reason = ec2types.Value(r.Message)
		}
		return false, "", fmt.Errorf("image %s is %s: %s", id, state, reason)
	}
}
