package cloud

import (
	"context"
	"errors"
	"net/url"
	"time"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
)

const (
	// regionPoll is the time between two looks at what becomes of an image in another region.
	regionPoll = 2 * time.Second
	// regionTime is for one step with another region, which others wait for.
	regionTime = 10 * time.Second
)

// checkRegions refuses regions that a pipeline cannot distribute to.
func (c *Account) checkRegions(d *model.Distribution) error {
	for _, r := range d.Regions {
		if _, err := c.here(r); err != nil {
			return err
		}
	}
	return nil
}

// deliverToRegion takes the next step of having another region copy a run's image: it
// is told to, and looked at until it has. The copy is known by its name and source, so
// that a step that was interrupted is not done twice.
func (c *Account) deliverToRegion(ctx context.Context, r *model.PipelineRun, d *model.Delivery) error {
	if c.regions == nil {
		return model.Errorf(model.CodeInvalidParameterValue, "The region %s is not known any more", d.Region).WithHint("bundtd --regions names it")
	}
	ctx, cancel := context.WithTimeout(ctx, regionTime)
	defer cancel()
	there, err := c.copyThere(ctx, r, d.Region)
	if err != nil {
		return err
	}
	d.State, d.Next = model.DeliveryActive, c.Now().Add(regionPoll)
	if there == nil {
		return c.haveCopied(ctx, r, d)
	}
	d.ImageID = ec2types.Value(there.ImageId)
	switch state := model.ImageState(ec2types.Value(there.State)); state {
	case model.ImagePending:
		return nil
	case model.ImageAvailable:
		d.State = model.DeliveryDone
		return nil
	default:
		why := "the copy is " + string(state)
		if there.StateReason != nil {
			why = ec2types.Value(there.StateReason.Message)
		}
		// Its name is for the next try.
		var done ec2types.DeregisterImageOutput
		return errors.Join(errors.New(why), c.regions.Call(ctx, d.Region, c.id, "DeregisterImage", url.Values{"ImageId": {d.ImageID}}, &done))
	}
}

// copyThere is the copy of a run's image in another region; nil if there is none.
func (c *Account) copyThere(ctx context.Context, r *model.PipelineRun, region string) (*ec2types.Image, error) {
	var out ec2types.DescribeImagesOutput
	err := c.regions.Call(ctx, region, c.id, "DescribeImages", url.Values{
		"Owner.1": {"self"}, "IncludeDisabled": {"true"},
		"Filter.1.Name": {"name"}, "Filter.1.Value.1": {r.ImageName},
		"Filter.2.Name": {"source-image-id"}, "Filter.2.Value.1": {r.ImageID},
	}, &out)
	if err != nil || len(out.Images) == 0 {
		return nil, err
	}
	return &out.Images[0], nil
}

// haveCopied tells another region to copy a run's image, with its tags.
func (c *Account) haveCopied(ctx context.Context, r *model.PipelineRun, d *model.Delivery) error {
	var out ec2types.CopyImageOutput
	err := c.regions.Call(ctx, d.Region, c.id, "CopyImage", url.Values{
		"SourceImageId": {r.ImageID}, "SourceRegion": {c.info.Region}, "Name": {r.ImageName}, "CopyImageTags": {"true"},
	}, &out)
	d.ImageID = ec2types.Value(out.ImageId)
	return err
}
