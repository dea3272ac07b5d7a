//go:build vm

package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
)

// sdkConfig is what AWS's Go SDK makes of the environment that "bundt env" prints.
func (d daemon) sdkConfig(t *testing.T) aws.Config {
	t.Helper()
	env, err := d.Env(t.Context())
	must(t, err)
	env["HOME"] = t.TempDir()
	for name, value := range env {
		t.Setenv(name, value)
	}
	cfg, err := config.LoadDefaultConfig(t.Context())
	must(t, err)
	return cfg
}

const waitLimit = 4 * time.Minute

// errorCode is that of an error of the API, "" of another.
func errorCode(err error) string {
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		return e.ErrorCode()
	}
	return ""
}

// TestGoSDK goes through the whole story by aws-sdk-go-v2 and its waiters.
func TestGoSDK(t *testing.T) {
	d := newDaemon(t)
	base := d.build(t, "tiny", "x86_64")
	ctx, cfg := t.Context(), d.sdkConfig(t)
	c := ec2.NewFromConfig(cfg)
	who, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	must(t, err)

	key, err := c.CreateKeyPair(ctx, &ec2.CreateKeyPairInput{KeyName: aws.String("sdk"), KeyType: types.KeyTypeEd25519})
	must(t, err)
	keyFile := filepath.Join(t.TempDir(), "key")
	must(t, os.WriteFile(keyFile, []byte(*key.KeyMaterial), 0o600))
	group, err := c.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{GroupName: aws.String("sdk"), Description: aws.String("the story")})
	must(t, err)
	_, err = c.AuthorizeSecurityGroupIngress(ctx, &ec2.AuthorizeSecurityGroupIngressInput{GroupId: group.GroupId, IpPermissions: []types.IpPermission{{
		IpProtocol: aws.String("tcp"), FromPort: aws.Int32(22), ToPort: aws.Int32(22), IpRanges: []types.IpRange{{CidrIp: aws.String("0.0.0.0/0")}},
	}}})
	must(t, err)

	run := func(image string) *ec2.DescribeInstancesInput {
		t.Helper()
		out, err := c.RunInstances(ctx, &ec2.RunInstancesInput{
			ImageId: &image, InstanceType: types.InstanceTypeT3Nano, KeyName: key.KeyName, SecurityGroupIds: []string{*group.GroupId},
			MinCount: aws.Int32(1), MaxCount: aws.Int32(1),
		})
		must(t, err)
		if *out.OwnerId != *who.Account {
			t.Errorf("the reservation is of %s and not of %s", *out.OwnerId, *who.Account)
		}
		ids := []string{*out.Instances[0].InstanceId}
		must(t, ec2.NewInstanceRunningWaiter(c).Wait(ctx, &ec2.DescribeInstancesInput{InstanceIds: ids}, waitLimit))
		must(t, ec2.NewInstanceStatusOkWaiter(c).Wait(ctx, &ec2.DescribeInstanceStatusInput{InstanceIds: ids}, waitLimit))
		return &ec2.DescribeInstancesInput{InstanceIds: ids}
	}
	ssh := func(of *ec2.DescribeInstancesInput, command string) string {
		t.Helper()
		out, err := c.DescribeInstances(ctx, of)
		must(t, err)
		return d.tools(t).run(t, "/usr/bin/ssh", "-i", keyFile, "-o", "BatchMode=yes", "-o", "LogLevel=ERROR", "-o", "StrictHostKeyChecking=no",
			"-o", "UserKnownHostsFile=/dev/null", "root@"+*out.Reservations[0].Instances[0].PublicIpAddress, command)
	}
	first := run(base)
	ssh(first, "echo made by the SDK >/root/mark; sync")
	image, err := c.CreateImage(ctx, &ec2.CreateImageInput{InstanceId: &first.InstanceIds[0], Name: aws.String("sdk"), NoReboot: aws.Bool(true)})
	must(t, err)
	described := &ec2.DescribeImagesInput{ImageIds: []string{*image.ImageId}}
	must(t, ec2.NewImageAvailableWaiter(c).Wait(ctx, described, waitLimit))
	images, err := c.DescribeImages(ctx, described)
	must(t, err)
	second := run(*image.ImageId)
	if got := ssh(second, "cat /root/mark"); got != "made by the SDK\n" {
		t.Errorf("the second instance says %q", got)
	}

	both := append(first.InstanceIds, second.InstanceIds...)
	_, err = c.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: both})
	must(t, err)
	must(t, ec2.NewInstanceTerminatedWaiter(c).Wait(ctx, &ec2.DescribeInstancesInput{InstanceIds: both}, waitLimit))
	_, err = c.DeregisterImage(ctx, &ec2.DeregisterImageInput{ImageId: image.ImageId})
	must(t, err)
	_, err = c.DeleteSnapshot(ctx, &ec2.DeleteSnapshotInput{SnapshotId: images.Images[0].BlockDeviceMappings[0].Ebs.SnapshotId})
	must(t, err)
	_, err = c.DeleteSecurityGroup(ctx, &ec2.DeleteSecurityGroupInput{GroupId: group.GroupId})
	must(t, err)
	_, err = c.DeleteKeyPair(ctx, &ec2.DeleteKeyPairInput{KeyPairId: key.KeyPairId})
	must(t, err)
	d.tools(t).cleanedUp(t, base)

	_, err = c.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{"i-0fedcba9876543210"}})
	if code := errorCode(err); code != "InvalidInstanceID.NotFound" {
		t.Error(fmt.Errorf("an instance that is not there: %w", err))
	}
}
