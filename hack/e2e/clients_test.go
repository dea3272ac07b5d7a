//go:build vm

package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bundt/bundt/pkg/api/ec2types"
)

// Each of AWS's clients here is the distribution's, unmodified, and goes all the
// way: key, security group, run, wait, SSH into a real guest, image, second
// instance, terminate, deregister. Any error that a client reports fails its test.

// clients are those of AWS that are tested, and the registry that images go
// through, by the names that hack/setup has for them.
var clients = []string{"aws", "boto3", "packer", "ansible-playbook", "docker-registry"}

// program is the distribution's, whatever else the PATH has.
func program(name string) string { return filepath.Join("/usr/bin", name) }

// checkClient fails if a client is not installed.
func checkClient(name string) error {
	if name != "boto3" {
		_, err := os.Stat(program(name))
		return err
	}
	if out, err := exec.Command(program("python3"), "-c", "import boto3").CombinedOutput(); err != nil {
		return fmt.Errorf("no boto3 for %s: %w: %s", program("python3"), err, out)
	}
	return nil
}

// checkClients fails where a client is missing of which there is a package: none is
// left out silently.
func checkClients() error {
	for _, name := range clients {
		if err := checkClient(name); err != nil && exec.Command("../setup", "lacks", name).Run() != nil {
			return fmt.Errorf("%w: make setup installs what the tests need", err)
		}
	}
	return nil
}

// needClient skips the test where the distribution has no package of a client;
// hack/noskip knows the words, and repeats them at the end.
func needClient(t *testing.T, name string) {
	t.Helper()
	if err := checkClient(name); err != nil { // checkClients has found it right
		t.Skipf("LEFT OUT: this distribution has no package of %s", name)
	}
}

// tools runs programs of AWS's in a directory of their own, pointed at the
// daemon as "bundt env" says, and at nothing else.
type tools struct {
	daemon
	dir string
	env []string
}

func (d daemon) tools(t *testing.T, files ...string) *tools {
	t.Helper()
	env, err := d.Env(t.Context())
	must(t, err)
	c := &tools{d, t.TempDir(), []string{"PATH=/usr/bin:/bin:/usr/sbin:/sbin", "HOME=" + t.TempDir(), "LANG=C.UTF-8"}}
	for name, value := range env {
		c.env = append(c.env, name+"="+value)
	}
	c.env = append(c.env, "BUNDT="+filepath.Join(d.Bin, "bundt"), "AWS_URL="+env["AWS_ENDPOINT_URL"],
		"CHECKPOINT_DISABLE=1", "ANSIBLE_NOCOLOR=1", "ANSIBLE_LOCALHOST_WARNING=False", "PACKER_NO_COLOR=1")
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join("testdata", "clients", f))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(c.dir, f), text, 0o700))
	}
	return c
}

// run runs a program, which must succeed, and returns what it printed.
func (c *tools) run(t *testing.T, argv ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = c.dir, c.env
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out.String())
	}
	return out.String()
}

// cleanedUp checks that a client's story left no more than the image it began with.
func (c *tools) cleanedUp(t *testing.T, image string) {
	t.Helper()
	ctx := t.Context()
	c.nothingLeft(t)
	images, err := c.API.DescribeImages(ctx, &ec2types.DescribeImagesInput{Owners: []string{"self"}})
	must(t, err)
	if len(images.Images) != 1 || *images.Images[0].ImageId != image {
		t.Errorf("these images are left: %+v", images.Images)
	}
	snapshots, err := c.API.DescribeSnapshots(ctx, &ec2types.DescribeSnapshotsInput{OwnerIds: []string{"self"}})
	must(t, err)
	if len(snapshots.Snapshots) != 1 {
		t.Errorf("these snapshots are left: %+v", snapshots.Snapshots)
	}
	volumes, err := c.API.DescribeVolumes(ctx, &ec2types.DescribeVolumesInput{})
	must(t, err)
	if len(volumes.Volumes) != 0 {
		t.Errorf("these volumes are left: %+v", volumes.Volumes)
	}
	keys, err := c.API.DescribeKeyPairs(ctx, &ec2types.DescribeKeyPairsInput{})
	must(t, err)
	if len(keys.KeyPairs) != 0 {
		t.Errorf("these key pairs are left: %+v", keys.KeyPairs)
	}
	groups, err := c.API.DescribeSecurityGroups(ctx, &ec2types.DescribeSecurityGroupsInput{})
	must(t, err)
	if len(groups.SecurityGroups) != 1 {
		t.Errorf("these security groups are left: %+v", groups.SecurityGroups)
	}
}

func TestAWSCLI(t *testing.T) {
	needClient(t, "aws")
	d := newDaemon(t)
	image := d.build(t, "tiny", "x86_64")
	c := d.tools(t, "aws.sh")
	c.env = append(c.env, "IMAGE="+image)
	c.run(t, "/bin/bash", "aws.sh")
	c.cleanedUp(t, image)
}

func TestBoto3(t *testing.T) {
	needClient(t, "boto3")
	d := newDaemon(t)
	image := d.build(t, "tiny", "x86_64")
	c := d.tools(t, "story.py")
	c.run(t, program("python3"), "story.py", image)
	c.cleanedUp(t, image)
}

// TestPacker has Packer make an image of a guest that it provisioned, and
// launches from it.
func TestPacker(t *testing.T) {
	needClient(t, "packer")
	d := newDaemon(t)
	image := d.build(t, "tiny", "x86_64")
	c := d.tools(t, "packer.json")
	must(t, os.WriteFile(filepath.Join(c.dir, "message"), []byte("made by Packer\n"), 0o600))
	c.run(t, program("packer"), "build", "-color=false", "packer.json")
	built, err := d.API.DescribeImages(t.Context(), &ec2types.DescribeImagesInput{
		Filters: []ec2types.Filter{{Name: new("name"), Values: []string{"packer"}}},
	})
	must(t, err)
	made := built.Images[0]
	if got := ec2types.Value(made.Description); got != "made by Packer" {
		t.Errorf("the image's description is %q", got)
	}
	key := filepath.Join(d.Dir, "key")
	d.cli(t, "key", "create", "k", "--file", key)
	id := d.cli(t, "run", *made.ImageId, "--key", "k", "--type", "b1.nano", "-o", "name")
	if got := d.cli(t, "ssh", "-i", key, id, "--", "cat /root/mark"); got != "made by Packer" {
		t.Errorf("the image's guest says %q", got)
	}
	d.cli(t, "rm", id)
	d.cli(t, "image", "delete", *made.ImageId)
	_, err = d.API.DeleteKeyPair(t.Context(), &ec2types.DeleteKeyPairInput{KeyName: new("k")})
	must(t, err)
	c.cleanedUp(t, image)
}

// TestAnsible runs a playbook twice: the second run changes nothing.
func TestAnsible(t *testing.T) {
	needClient(t, "ansible-playbook")
	d := newDaemon(t)
	image := d.build(t, "tiny", "x86_64")
	c := d.tools(t, "playbook.yml", "teardown.yml")
	c.run(t, "/usr/bin/ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "key")
	play := func(book string) string {
		return c.run(t, program("ansible-playbook"), "-i", "localhost,", book)
	}
	play("playbook.yml")
	if out := play("playbook.yml"); !strings.Contains(out, " changed=0 ") {
		t.Errorf("the second run changed something:\n%s", out)
	}
	play("teardown.yml")
	c.cleanedUp(t, image)
}
