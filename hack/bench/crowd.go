package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bundt/bundt/hack/harness"
	"github.com/bundt/bundt/pkg/api/ec2types"
)

const (
	crowdSize = 10_000 // instances of P7 and P9
	crowdType = "b1.pico"
	// launchers call RunInstances at once for P6, dispatched instances in all.
	launchers  = 32
	dispatched = 1500
	perCall    = 500 // instances of one call that fills the cloud
	perSubnet  = 4000
)

// crowd is P6, P7 and P9: a cloud of simulated machines, because this host
// cannot hold as many real ones. Everything but the hypervisor is the product.
func (b *bench) crowd(ctx context.Context, _ string) (err error) {
	// The memory is imaginary: 10,000 machines must fit.
	d, err := harness.New(harness.Options{
		Bin: b.daemon.Bin, Dir: filepath.Join(b.dir, "crowd"), Cache: b.daemon.Cache,
		Args: []string{"--hypervisor", "fake", "--guest-memory", strconv.Itoa(crowdSize * 100)},
	})
	if err != nil {
		return err
	}
	defer func() {
		if perr := d.Purge(); err == nil {
			err = perr
		}
	}()
	if err := d.Start(ctx); err != nil {
		return err
	}
	c := &crowd{bench: b, daemon: d}
	idle, err := c.memory()
	if err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{c.prepare, c.dispatch, c.fill} {
		if err := step(ctx); err != nil {
			return fmt.Errorf("%w; the daemon says: %s", err, d.Log())
		}
	}
	full, err := c.settledMemory(ctx)
	if err != nil {
		return err
	}
	// In MiB where the others are seconds: the ratio is what counts.
	b.add("P9", fmt.Sprintf("daemon with %d instances, GiB / 40 MiB + 8 KiB each", crowdSize), 1, []float64{full / 1024}, []float64{(40 + crowdSize*8/1024.0) / 1024})
	b.add("P9", "daemon without instances, GiB / 40 MiB", 1, []float64{idle / 1024}, []float64{40.0 / 1024})
	return c.describe(ctx)
}

type crowd struct {
	*bench
	daemon  *harness.Daemon
	image   string
	subnets []string
	some    []string // ids of instances
}

// prepare bakes the image and makes room: the default subnet has 4,091 addresses.
func (c *crowd) prepare(ctx context.Context) error {
	var err error
	if c.image, err = (&bench{daemon: c.daemon}).image(ctx, "tiny"); err != nil {
		return err
	}
	have, err := c.daemon.API.DescribeSubnets(ctx, &ec2types.DescribeSubnetsInput{})
	if err != nil {
		return err
	}
	c.subnets = []string{*have.Subnets[0].SubnetId}
	for _, cidr := range []string{"172.31.128.0/20", "172.31.144.0/20"} {
		made, err := c.daemon.API.CreateSubnet(ctx, &ec2types.CreateSubnetInput{VpcId: have.Subnets[0].VpcId, CidrBlock: &cidr})
		if err != nil {
			return err
		}
		c.subnets = append(c.subnets, *made.Subnet.SubnetId)
	}
	return nil
}

func (c *crowd) run(ctx context.Context, subnet string, count int) ([]ec2types.Instance, error) {
	n := int32(count)
	out, err := c.daemon.API.RunInstances(ctx, &ec2types.RunInstancesInput{
		ImageId: &c.image, InstanceType: new(crowdType), MinCount: &n, MaxCount: &n, SubnetId: &subnet,
	})
	if err != nil {
		return nil, err
	}
	return out.Instances, nil
}

// dispatch is P6: single launches by many clients, until the last one runs.
func (c *crowd) dispatch(ctx context.Context) error {
	ids := make([]string, dispatched)
	start := time.Now()
	var g errgroup.Group
	for l := range launchers {
		g.Go(func() error {
			for k := l; k < dispatched; k += launchers {
				made, err := c.run(ctx, c.subnets[0], 1)
				if err != nil {
					return err
				}
				ids[k] = *made[0].InstanceId
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	accepted := time.Since(start).Seconds() / dispatched
	if err := c.awaitRunning(ctx, dispatched); err != nil {
		return err
	}
	c.some = ids[:200]
	c.add("P6", "a launch accepted, of 32 clients' / 1/500 s", 1, []float64{accepted}, []float64{1.0 / 500})
	c.add("P6", "a launch running on the in-memory hypervisor / 1/500 s", 1, []float64{time.Since(start).Seconds() / dispatched}, []float64{1.0 / 500})
	return nil
}

// fill launches the rest of the crowd.
func (c *crowd) fill(ctx context.Context) error {
	for have := dispatched; have < crowdSize; {
		n := min(perCall, crowdSize-have)
		if _, err := c.run(ctx, c.subnets[have/perSubnet], n); err != nil {
			return err
		}
		have += n
		if err := c.awaitRunning(ctx, have); err != nil {
			return err
		}
	}
	return nil
}

// awaitRunning waits until so many instances run.
func (c *crowd) awaitRunning(ctx context.Context, want int) error {
	const look = 200 * time.Millisecond // looking at all of them is work for the daemon
	pending := ec2types.Filter{Name: new("instance-state-name"), Values: []string{"pending"}}
	for {
		out, err := c.daemon.API.DescribeInstances(ctx, &ec2types.DescribeInstancesInput{Filters: []ec2types.Filter{pending}})
		if err != nil {
			return err
		}
		if len(out.Reservations) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %d instances: %w", want, ctx.Err())
		case <-time.After(look):
		}
	}
}

// settledMemory is what the daemon holds when the work is done.
func (c *crowd) settledMemory(ctx context.Context) (float64, error) {
	const settle = 20 * time.Second
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(settle):
		return c.memory()
	}
}

// memory is what the daemon holds for itself, in MiB: its proportional set size.
func (c *crowd) memory() (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", c.daemon.PID()))
	if err != nil {
		return 0, fmt.Errorf("measuring the daemon's memory: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "Pss:" {
			kib, err := strconv.ParseFloat(f[1], 64)
			return kib / 1024, err
		}
	}
	return 0, fmt.Errorf("measuring the daemon's memory: smaps_rollup has no Pss")
}
