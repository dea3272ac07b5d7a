// The tag keeps the SDK, minutes of compiling, out of the build with the race detector.

//go:build vm

package clients

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	"github.com/bundt/bundt/hack/daemontest"
	"github.com/bundt/bundt/images"
	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/client"
	"github.com/bundt/bundt/pkg/daemon"
)

// cloud is a daemon with simulated machines, one baked image, and the endpoint
// that it serves to AWS's clients.
type cloud struct {
	bundttypes.DescribeEndpointOutput
	image string
}

func startCloud(t *testing.T) *cloud {
	t.Helper()
	c := daemontest.Start(t, daemontest.Config(t), daemon.Parts{})
	e, err := c.DescribeEndpoint(t.Context(), &bundttypes.DescribeEndpointInput{})
	if err != nil {
		t.Fatal(err)
	}
	recipe, err := images.FS("boot-sector")
	if err != nil {
		t.Fatal(err)
	}
	return &cloud{DescribeEndpointOutput: *e, image: daemontest.Bake(t, c, recipe)}
}

// ec2Client is the SDK's own, told no more than the environment of bundt env tells.
func (c *cloud) ec2Client(t *testing.T) *ec2.Client {
	t.Helper()
	key, err := client.ReadAccessKey(c.CredentialsFile)
	if err != nil {
		t.Fatal(err)
	}
	// With its own retries: it closes a request's body as soon as it has the answer's
	// head, which now and then closes the connection of a server as near as this one
	// (aws-sdk-go-v2 knows the error and tries again).
	return ec2.New(ec2.Options{
		BaseEndpoint: &c.Url, Region: c.Region,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: key.ID, SecretAccessKey: key.Secret}, nil
		}),
	})
}

func codeOf(err error) string {
	var e smithy.APIError
	if errors.As(err, &e) {
		return e.ErrorCode()
	}
	return ""
}

// TestGoSDK is the story of a machine's life as aws-sdk-go-v2 tells it: key, run,
// wait, image, second instance, terminate, deregister.
func TestGoSDK(t *testing.T) {
	cloud := startCloud(t)
	c, ctx := cloud.ec2Client(t), t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	key, err := c.CreateKeyPair(ctx, &ec2.CreateKeyPairInput{KeyName: aws.String("demo"), KeyType: types.KeyTypeEd25519})
	must(err)
	if !strings.Contains(*key.KeyMaterial, "PRIVATE KEY") {
		t.Errorf("the key's material is %q", *key.KeyMaterial)
	}
	run := &ec2.RunInstancesInput{
		ImageId: &cloud.image, InstanceType: "b1.pico", KeyName: aws.String("demo"), MinCount: aws.Int32(1), MaxCount: aws.Int32(1),
		ClientToken: aws.String("once"),
		TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeInstance, Tags: []types.Tag{
			{Key: aws.String("Name"), Value: aws.String("web <1> & \u00e9\t")}}}},
	}
	first, err := c.RunInstances(ctx, run)
	must(err)
	again, err := c.RunInstances(ctx, run)
	must(err)
	id := *first.Instances[0].InstanceId
	if *again.Instances[0].InstanceId != id {
		t.Error("the same ClientToken launched another instance")
	}
	dry := *run
	dry.DryRun, dry.ClientToken = aws.Bool(true), nil
	if _, err := c.RunInstances(ctx, &dry); codeOf(err) != "DryRunOperation" {
		t.Errorf("dry run: %v", err)
	}
	must(ec2.NewInstanceRunningWaiter(c, quickly).Wait(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{id}}, time.Minute))

	image, err := c.CreateImage(ctx, &ec2.CreateImageInput{InstanceId: &id, Name: aws.String("twin"), NoReboot: aws.Bool(true)})
	must(err)
	must(ec2.NewImageAvailableWaiter(c, func(o *ec2.ImageAvailableWaiterOptions) { o.MinDelay = time.Millisecond }).
		Wait(ctx, &ec2.DescribeImagesInput{ImageIds: []string{*image.ImageId}}, time.Minute))
	second, err := c.RunInstances(ctx, &ec2.RunInstancesInput{ImageId: image.ImageId, InstanceType: "b1.pico", MinCount: aws.Int32(1), MaxCount: aws.Int32(1)})
	must(err)
	both := []string{id, *second.Instances[0].InstanceId}
	must(ec2.NewInstanceRunningWaiter(c, quickly).Wait(ctx, &ec2.DescribeInstancesInput{InstanceIds: both}, time.Minute))

	checkDescription(t, c, id)
	_, err = c.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: both})
	must(err)
	must(ec2.NewInstanceTerminatedWaiter(c, func(o *ec2.InstanceTerminatedWaiterOptions) { o.MinDelay = time.Millisecond }).
		Wait(ctx, &ec2.DescribeInstancesInput{InstanceIds: both}, time.Minute))
	_, err = c.DeregisterImage(ctx, &ec2.DeregisterImageInput{ImageId: image.ImageId})
	must(err)
	gone, err := c.DescribeImages(ctx, &ec2.DescribeImagesInput{Filters: []types.Filter{{Name: aws.String("name"), Values: []string{"twin"}}}})
	must(err)
	if len(gone.Images) != 0 {
		t.Errorf("the image is still there: %+v", gone.Images)
	}
	_, err = c.DeleteKeyPair(ctx, &ec2.DeleteKeyPairInput{KeyName: aws.String("demo")})
	must(err)
}

func quickly(o *ec2.InstanceRunningWaiterOptions) { o.MinDelay = time.Millisecond }

// checkDescription reads an instance back by a filter, in pages.
func checkDescription(t *testing.T, c *ec2.Client, id string) {
	t.Helper()
	pages := ec2.NewDescribeInstancesPaginator(c, &ec2.DescribeInstancesInput{
		MaxResults: aws.Int32(5), Filters: []types.Filter{{Name: aws.String("tag:Name"), Values: []string{"web*"}}},
	})
	var found []types.Instance
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page.Reservations {
			found = append(found, r.Instances...)
		}
	}
	if len(found) != 1 || *found[0].InstanceId != id {
		t.Fatalf("the filter found %+v, want %s", found, id)
	}
	i := found[0]
	if *i.Tags[0].Value != "web <1> & \u00e9\t" || *i.KeyName != "demo" || time.Since(*i.LaunchTime) > time.Hour || i.State.Name != types.InstanceStateNameRunning {
		t.Errorf("the instance is %+v", i)
	}
}

// TestGoSDKErrors: the SDK understands what is refused.
func TestGoSDKErrors(t *testing.T) {
	cloud := startCloud(t)
	c := cloud.ec2Client(t)
	for _, test := range []struct {
		want string
		call func() error
	}{
		{"InvalidInstanceID.NotFound", func() error {
			_, err := c.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{"i-0123456789abcdef0"}})
			return err
		}},
		{"InvalidInstanceID.Malformed", func() error {
			_, err := c.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{"nonsense"}})
			return err
		}},
		{"UnsupportedOperation", func() error {
			_, err := c.DescribeReservedInstances(t.Context(), &ec2.DescribeReservedInstancesInput{})
			return err
		}},
		{"UnsupportedOperation", func() error {
			_, err := c.RunInstances(t.Context(), &ec2.RunInstancesInput{ImageId: &cloud.image, MinCount: aws.Int32(1), MaxCount: aws.Int32(1),
				HibernationOptions: &types.HibernationOptionsRequest{Configured: aws.Bool(true)}})
			return err
		}},
		{"AuthFailure", func() error {
			stranger := func(o *ec2.Options) {
				o.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
					return aws.Credentials{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "x"}, nil
				})
			}
			_, err := c.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{}, stranger)
			return err
		}},
	} {
		if err := test.call(); codeOf(err) != test.want {
			t.Errorf("got %v, want %s", err, test.want)
		}
	}
}

// TestManyFilters: a huge request is refused soon.
func TestManyFilters(t *testing.T) {
	c := startCloud(t).ec2Client(t)
	var filters []types.Filter
	for range 5000 {
		filters = append(filters, types.Filter{Name: aws.String("instance-id"), Values: []string{"i-1"}})
	}
	start := time.Now()
	_, err := c.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{Filters: filters})
	if codeOf(err) != "InvalidParameterValue" || time.Since(start) > 5*time.Second {
		t.Errorf("got %v after %v", err, time.Since(start))
	}
}
