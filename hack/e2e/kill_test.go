//go:build vm

package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/client"
	"github.com/bundt/bundt/pkg/model"
)

// TestGuestsOutliveTheDaemon kills the daemon under a guest that must not notice.
func TestGuestsOutliveTheDaemon(t *testing.T) {
	d := newDaemon(t)
	image := d.build(t, "tiny", "x86_64")
	id := d.launch(t, image, "b1.nano")
	must(t, d.Reachable(t.Context(), id))
	before := d.details(t, id)
	for range 5 {
		d.Kill()
		if !alive(before.Pid) {
			t.Fatal("the guest died with the daemon")
		}
		if err := d.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		after := d.details(t, id)
		if after.Pid != before.Pid {
			t.Fatalf("process %d became %d", before.Pid, after.Pid)
		}
	}
	conn, err := d.API.Connect(t.Context(), id, 22)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

// kills is how often the daemon is killed in the middle of the story.
const kills = 25

// TestKilledAtAnyMoment lives the story of many machines while the daemon is
// killed again and again, and then looks for what was lost and what was leaked.
func TestKilledAtAnyMoment(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	d := newDaemon(t)
	image := d.build(t, "boot-sector", "x86_64")
	s := &story{d: d, image: image}
	done := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	stop := make(chan struct{})
	go func() { done <- s.live(ctx, stop) }()
	for range kills {
		time.Sleep(time.Duration(rng.IntN(400)) * time.Millisecond)
		d.Kill()
		if err := d.Start(ctx); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Logf("%d kills: %d instances, %d images of running instances", kills, s.launched, s.images)
	if s.launched < 3 || s.images < 1 {
		t.Errorf("the story came no further than %d instances and %d images", s.launched, s.images)
	}
	d.nothingLeft(t)
}

// story is one client that goes on whatever happens to the daemon.
type story struct {
	d                daemon
	image            string
	launched, images int
}

func (s *story) live(ctx context.Context, stop <-chan struct{}) error {
	for n := 0; ; n++ {
		select {
		case <-stop:
			return nil
		default:
		}
		if err := s.once(ctx, n); err != nil {
			return fmt.Errorf("round %d: %w", n, err)
		}
	}
}

// once launches an instance, makes an image of it as it runs, launches the twin,
// and ends both: every acknowledged step must be found again.
func (s *story) once(ctx context.Context, n int) error {
	first, err := s.launch(ctx, s.image, fmt.Sprintf("first-%d", n))
	if err != nil {
		return err
	}
	image, err := s.takeImage(ctx, first, fmt.Sprintf("image-%d", n))
	if err != nil {
		return err
	}
	twin, err := s.launch(ctx, image, fmt.Sprintf("twin-%d", n))
	if err != nil {
		return err
	}
	if err := s.terminate(ctx, first, twin); err != nil {
		return err
	}
	return s.forget(ctx, image)
}

// again repeats call while there is no daemon to answer it, or its answer was
// lost: every answer of the daemon has a code.
func again(ctx context.Context, call func() error) error {
	for {
		err := call()
		if err == nil || model.CodeOf(err) != "" && !errors.Is(err, client.ErrUnreachable) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (s *story) launch(ctx context.Context, image, token string) (id string, err error) {
	err = again(ctx, func() (err error) {
		got, err := s.d.Launch(ctx, image, "b1.pico", token)
		if err == nil && id != "" && got != id {
			err = model.Errorf("LaunchedTwice", "the token %s launched %s and %s", token, id, got)
		}
		id = got
		return err
	})
	if err != nil {
		return "", err
	}
	s.launched++
	return id, s.await(ctx, id, "running")
}

func (s *story) await(ctx context.Context, id, want string) error {
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		var i *ec2types.Instance
		if err := again(ctx, func() (err error) { i, err = s.d.Instance(ctx, id); return err }); err != nil {
			return fmt.Errorf("acknowledged instance %s: %w", id, err)
		}
		if *i.State.Name == want {
			return nil
		}
		if *i.State.Name == "terminated" || time.Now().After(end) {
			return fmt.Errorf("%s is %s, not %s: %+v", id, *i.State.Name, want, ec2types.Value(i.StateReason))
		}
	}
}

func (s *story) takeImage(ctx context.Context, id, name string) (string, error) {
	var image string
	err := again(ctx, func() error {
		out, err := s.d.API.CreateImage(ctx, &ec2types.CreateImageInput{InstanceId: &id, Name: &name, NoReboot: new(true)})
		if err == nil {
			image = *out.ImageId
		}
		return err
	})
	// The answer to an earlier try may have been lost: then the name is taken.
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		var out *ec2types.DescribeImagesOutput
		derr := again(ctx, func() (err error) {
			out, err = s.d.API.DescribeImages(ctx, &ec2types.DescribeImagesInput{Filters: []ec2types.Filter{{Name: new("name"), Values: []string{name}}}})
			return err
		})
		if derr != nil {
			return "", derr
		}
		if len(out.Images) != 1 {
			return "", fmt.Errorf("acknowledged image %s (%s) is lost: %w", image, name, err)
		}
		switch *out.Images[0].State {
		case "available":
			s.images++
			return *out.Images[0].ImageId, nil
		case "failed":
			return "", fmt.Errorf("image %s failed: %+v", name, out.Images[0].StateReason)
		}
		if time.Now().After(end) {
			return "", fmt.Errorf("image %s is still pending", name)
		}
	}
}

func (s *story) terminate(ctx context.Context, ids ...string) error {
	err := again(ctx, func() error {
		_, err := s.d.API.TerminateInstances(ctx, &ec2types.TerminateInstancesInput{InstanceIds: ids})
		return err
	})
	for _, id := range ids {
		if err == nil {
			err = s.await(ctx, id, "terminated")
		}
	}
	return err
}

// forget deregisters an image and deletes its snapshots; what a lost answer
// already deleted is fine.
func (s *story) forget(ctx context.Context, image string) error {
	var out *ec2types.DescribeImagesOutput
	err := again(ctx, func() (err error) {
		out, err = s.d.API.DescribeImages(ctx, &ec2types.DescribeImagesInput{ImageIds: []string{image}})
		return err
	})
	if err != nil {
		return fmt.Errorf("acknowledged image: %w", err)
	}
	gone := func(err error, code string) error {
		if model.CodeOf(err) == code {
			return nil
		}
		return err
	}
	err = again(ctx, func() error {
		_, err := s.d.API.DeregisterImage(ctx, &ec2types.DeregisterImageInput{ImageId: &image})
		return gone(err, "InvalidAMIID.NotFound")
	})
	for _, b := range out.Images[0].BlockDeviceMappings {
		if err == nil {
			err = again(ctx, func() error {
				_, err := s.d.API.DeleteSnapshot(ctx, &ec2types.DeleteSnapshotInput{SnapshotId: b.Ebs.SnapshotId})
				return gone(err, "InvalidSnapshot.NotFound")
			})
		}
	}
	return err
}
