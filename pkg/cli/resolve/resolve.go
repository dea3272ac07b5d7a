// Package resolve owns the step from what users write, an id or a name, to the
// object they mean. It may import pkg/client, the API's types, pkg/model and
// pkg/cli/failure only.
package resolve

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/client"
	"github.com/bundt/bundt/pkg/model"
)

// Instances returns every instance that passes the filters.
func Instances(ctx context.Context, c *client.Client, filters ...ec2types.Filter) ([]ec2types.Instance, error) {
	return describeInstances(ctx, c, &ec2types.DescribeInstancesInput{Filters: filters})
}

// InstancesByID returns the instances of these ids, in that order.
func InstancesByID(ctx context.Context, c *client.Client, ids []string) ([]ec2types.Instance, error) {
	found, err := describeInstances(ctx, c, &ec2types.DescribeInstancesInput{InstanceIds: ids})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(found, func(a, b ec2types.Instance) int {
		return slices.Index(ids, ec2types.Value(a.InstanceId)) - slices.Index(ids, ec2types.Value(b.InstanceId))
	})
	return found, nil
}

func describeInstances(ctx context.Context, c *client.Client, in *ec2types.DescribeInstancesInput) ([]ec2types.Instance, error) {
	var all []ec2types.Instance
	for page, err := range c.DescribeInstancesPages(ctx, in) {
		if err != nil {
			return nil, err
		}
		for _, r := range page.Reservations {
			all = append(all, r.Instances...)
		}
	}
	return all, nil
}

// Instance returns the id of the instance that ref, an id or the Name tag of
// exactly one instance that is not terminated, means.
func Instance(ctx context.Context, c *client.Client, ref string) (string, error) {
	if model.CheckID(model.InstancePrefix, ref) == nil {
		return ref, nil
	}
	found, err := Instances(ctx, c, Filter("tag:Name", exactly(ref)))
	if err != nil {
		return "", err
	}
	var ids []string
	for _, i := range found {
		if !Gone(i) {
			ids = append(ids, ec2types.Value(i.InstanceId))
		}
	}
	return one("instance", ref, ids, "bundt ls lists the instances")
}

// InstanceIDs returns the ids of the instances that refs mean, each once.
func InstanceIDs(ctx context.Context, c *client.Client, refs []string) ([]string, error) {
	var ids []string
	for _, ref := range refs {
		id, err := Instance(ctx, c, ref)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// Gone reports whether the instance is terminated: only its record is left.
func Gone(i ec2types.Instance) bool { return State(i) == string(model.InstanceTerminated) }

// State is the instance's state's name.
func State(i ec2types.Instance) string {
	if i.State == nil {
		return ""
	}
	return ec2types.Value(i.State.Name)
}

// Images returns every image that passes the filters, newest first.
func Images(ctx context.Context, c *client.Client, filters ...ec2types.Filter) ([]ec2types.Image, error) {
	var all []ec2types.Image
	for page, err := range c.DescribeImagesPages(ctx, &ec2types.DescribeImagesInput{Filters: filters, IncludeDisabled: new(true)}) {
		if err != nil {
			return nil, err
		}
		all = append(all, page.Images...)
	}
	slices.SortStableFunc(all, func(a, b ec2types.Image) int {
		return strings.Compare(ec2types.Value(b.CreationDate), ec2types.Value(a.CreationDate))
	})
	return all, nil
}

// Volumes returns every volume that passes the filters.
func Volumes(ctx context.Context, c *client.Client, filters ...ec2types.Filter) ([]ec2types.Volume, error) {
	var all []ec2types.Volume
	for page, err := range c.DescribeVolumesPages(ctx, &ec2types.DescribeVolumesInput{Filters: filters}) {
		if err != nil {
			return nil, err
		}
		all = append(all, page.Volumes...)
	}
	return all, nil
}

// Volume returns the id of the volume that ref, an id or the Name tag of exactly
// one volume, means.
func Volume(ctx context.Context, c *client.Client, ref string) (string, error) {
	if model.CheckID(model.VolumePrefix, ref) == nil {
		return ref, nil
	}
	found, err := Volumes(ctx, c, Filter("tag:Name", exactly(ref)))
	if err != nil {
		return "", err
	}
	var ids []string
	for _, v := range found {
		ids = append(ids, ec2types.Value(v.VolumeId))
	}
	return one("volume", ref, ids, "bundt volume ls lists the volumes")
}

// RecipeTag is the tag that the daemon gives an image that it baked: the
// recipe's name.
const RecipeTag = "bundt:recipe"

// Image returns the id of the image that ref means: an id, a name, or a recipe,
// which stands for the newest image that was baked from it for this architecture.
func Image(ctx context.Context, c *client.Client, ref string) (string, error) {
	if model.CheckID(model.ImagePrefix, ref) == nil {
		return ref, nil
	}
	found, err := Images(ctx, c, Filter("name", exactly(ref)))
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		return baked(ctx, c, ref)
	}
	var ids []string
	for _, i := range found {
		ids = append(ids, ec2types.Value(i.ImageId))
	}
	return one("image", ref, ids, "")
}

func baked(ctx context.Context, c *client.Client, recipe string) (string, error) {
	found, err := Images(ctx, c, Filter("tag:"+RecipeTag, exactly(recipe)))
	if err != nil {
		return "", err
	}
	var others []string
	for _, i := range found {
		if ec2types.Value(i.State) == string(model.ImageDisabled) {
			continue
		}
		if ec2types.Value(i.Architecture) == string(HostArch()) {
			return ec2types.Value(i.ImageId), nil
		}
		others = append(others, ec2types.Value(i.Name))
	}
	err = failure.NotFoundf("no image has the id or name %q, and none for %s was baked from such a recipe", recipe, HostArch())
	if len(others) > 0 {
		return "", failure.WithHint(err, "there are for other architectures: %s", strings.Join(others, ", "))
	}
	return "", failure.WithHint(err, "bundt image ls lists the images, bundt build makes one from a recipe")
}

// HostArch is this host's architecture by EC2's name.
func HostArch() model.Arch {
	switch runtime.GOARCH {
	case "arm64":
		return model.ARM64
	case "386":
		return model.I386
	}
	return model.X8664
}

// Filter is the filter that lets pass what has one of these values.
func Filter(name string, values ...string) ec2types.Filter {
	return ec2types.Filter{Name: &name, Values: values}
}

// exactly makes a filter's value match itself only: * and ? stand for any text.
func exactly(value string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`).Replace(value)
}

func one(kind, ref string, ids []string, hint string) (string, error) {
	switch len(ids) {
	case 0:
		return "", failure.WithHint(failure.NotFoundf("no %s has the id or name %q", kind, ref), "%s", hint)
	case 1:
		return ids[0], nil
	}
	slices.Sort(ids)
	return "", failure.WithHint(
		fmt.Errorf("%d %ss are named %q: %s", len(ids), kind, ref, strings.Join(ids, ", ")),
		"give the id of the one you mean")
}

// Tag returns the value of the tag, "" if there is none.
func Tag(tags []ec2types.Tag, key string) string {
	for _, t := range tags {
		if ec2types.Value(t.Key) == key {
			return ec2types.Value(t.Value)
		}
	}
	return ""
}

// Region is the name of the region that the daemon serves.
func Region(ctx context.Context, c *client.Client) (string, error) {
	out, err := c.DescribeRegions(ctx, &ec2types.DescribeRegionsInput{})
	if err != nil {
		return "", err
	}
	if len(out.Regions) == 0 {
		return "", failure.NotFoundf("the cloud has no region")
	}
	return ec2types.Value(out.Regions[0].RegionName), nil // its own is the first
}
