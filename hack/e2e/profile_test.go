//go:build vm

package e2e

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// TestInstanceProfile: what a real guest finds at its metadata service are keys of
// its instance profile's role, with which AWS's SDK may do what the role may.
func TestInstanceProfile(t *testing.T) {
	d := newDaemon(t)
	image := d.build(t, "tiny", "x86_64")
	key := filepath.Join(d.Dir, "key")
	d.cli(t, "key", "create", "k", "--file", key)
	d.cli(t, "role", "create", "reader", "--service", "ec2")
	d.cli(t, "policy", "attach", "ReadOnlyAccess", "role/reader")
	d.cli(t, "instance-profile", "create", "web", "--role", "reader")
	id := strings.TrimSpace(d.cli(t, "run", image, "--key", "k", "--instance-profile", "web", "-o", "name"))
	found, err := d.Bundt(t.Context(), "ssh", "-i", key, id, "--", "wget -q -O - http://169.254.169.254/latest/meta-data/iam/security-credentials/reader")
	must(t, err)
	var keys struct{ Code, AccessKeyId, SecretAccessKey, Token string }
	if err := json.Unmarshal([]byte(found), &keys); err != nil || keys.Code != "Success" {
		t.Fatalf("the guest finds %s (%v)", found, err)
	}
	cfg := d.sdkConfig(t)
	cfg.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: keys.AccessKeyId, SecretAccessKey: keys.SecretAccessKey, SessionToken: keys.Token}, nil
	})
	who, err := sts.NewFromConfig(cfg).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	must(t, err)
	if !strings.HasSuffix(*who.Arn, ":assumed-role/reader/"+id) {
		t.Errorf("the guest is %s", *who.Arn)
	}
	guest := ec2.NewFromConfig(cfg)
	seen, err := guest.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
	must(t, err)
	if p := seen.Reservations[0].Instances[0].IamInstanceProfile; p == nil || !strings.HasSuffix(*p.Arn, ":instance-profile/web") {
		t.Errorf("the guest sees its profile as %+v", p)
	}
	if _, err := guest.TerminateInstances(t.Context(), &ec2.TerminateInstancesInput{InstanceIds: []string{id}}); err == nil || !strings.Contains(err.Error(), "UnauthorizedOperation") {
		t.Errorf("the guest ends itself, which its role may not: %v", err)
	}
}
