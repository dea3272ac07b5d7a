package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// EC2's codes of state reasons.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_StateReason.html
const (
	codeGuestShutdown = "Client.InstanceInitiatedShutdown"
	codeInternal      = "Server.InternalError"
)

// A machine whose process ends unexpectedly is started again, but not for ever.
const (
	maxCrashes  = 3
	crashWindow = 10 * time.Minute
)

// reconcileInstance drives one instance a step towards what is wanted of it.
func (n *Node) reconcileInstance(ctx context.Context, id string) (time.Duration, error) {
	inst, err := n.instance(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return 0, n.Driver.Remove(ctx, id)
	}
	if err != nil || inst.Node != n.ID {
		return 0, err
	}
	if inst.State == model.InstanceTerminated {
		return n.forget(ctx, &inst)
	}
	st, err := n.status(ctx, id)
	if err != nil {
		return 0, err
	}
	if err := n.takeSnapshots(ctx, &inst, st); err != nil {
		return 0, err
	}
	if inst.Desired == model.InstanceTerminated {
		return n.terminate(ctx, &inst, st)
	}
	if st.State == hypervisor.StateStopped {
		if err := errors.Join(n.settleVolumes(ctx, &inst), n.settleInterfaces(ctx, &inst)); err != nil {
			return 0, err
		}
	}
	if inst.Desired == model.InstanceStopped {
		return n.stop(ctx, &inst, st)
	}
	again, err := n.keepRunning(ctx, &inst, st)
	if err == nil && st.State != hypervisor.StateStopped {
		again, err = n.plugVolumes(ctx, &inst, again)
	}
	if err == nil && st.State != hypervisor.StateStopped {
		again, err = n.plugInterfaces(ctx, &inst, again)
	}
	return again, err
}

// status is the driver's; a machine that does not exist counts as stopped.
func (n *Node) status(ctx context.Context, id string) (hypervisor.Status, error) {
	st, err := n.Driver.Status(ctx, id)
	if errors.Is(err, hypervisor.ErrNotFound) {
		return hypervisor.Status{ID: id, State: hypervisor.StateStopped}, nil
	}
	return st, err
}

func (n *Node) keepRunning(ctx context.Context, inst *model.Instance, st hypervisor.Status) (time.Duration, error) {
	rebooting := inst.RebootsRequested > inst.RebootsDone
	up := st.State != hypervisor.StateStopped
	switch {
	case up && rebooting:
		return n.powerOff(ctx, inst, false)
	case up:
		return 0, n.adopt(ctx, inst, st)
	case inst.State == model.InstanceRunning && !rebooting && st.GuestHalted:
		return 0, n.guestShutdown(ctx, inst)
	case inst.State == model.InstanceRunning && !rebooting:
		if ok, err := n.recordCrash(ctx, inst, st); !ok || err != nil {
			return 0, err
		}
	}
	return 0, n.start(ctx, inst)
}

// start makes the instance's disks and its machine, and records that it runs.
func (n *Node) start(ctx context.Context, inst *model.Instance) error {
	spec, err := n.Spec(ctx, inst)
	if err == nil {
		err = n.makeDisks(ctx, inst)
	}
	var st hypervisor.Status
	if err == nil {
		spec.Taps, err = n.attach(ctx, inst)
	}
	if err == nil {
		st, err = n.Driver.Start(ctx, spec)
	}
	for _, f := range spec.Taps {
		f.Close() // the machine has its own
	}
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		n.Logger.Error("starting an instance failed", "instance", inst.ID, "error", err)
		return n.startFailed(ctx, inst, err)
	}
	n.mu.Lock()
	delete(n.pressed, inst.ID) // a new machine has not been asked to power off
	n.mu.Unlock()
	return n.adopt(ctx, inst, st)
}

// startFailed records the reason as EC2 does: an instance that never ran is
// terminated, another one is stopped.
func (n *Node) startFailed(ctx context.Context, inst *model.Instance, cause error) error {
	return n.edit(ctx, inst.ID, func(i *model.Instance) {
		if i.Desired != model.InstanceRunning {
			return // the user gave up meanwhile; that reason stands
		}
		i.StateReason = model.Reason{Code: codeInternal, Message: fmt.Sprintf("%s: %v", codeInternal, cause)}
		i.TransitionReason = codeInternal
		i.Reachability = ""
		i.StopRequested = n.Now().UTC()
		if i.Booted {
			i.Desired, i.State, i.ForceStop = model.InstanceStopped, model.InstanceStopping, true
		} else {
			i.Desired, i.State = model.InstanceTerminated, model.InstanceShuttingDown
		}
	})
}

// adopt records a running machine and joins it to the network.
func (n *Node) adopt(ctx context.Context, inst *model.Instance, st hypervisor.Status) error {
	n.mu.Lock()
	_, known := n.sockets[inst.ID]
	n.sockets[inst.ID] = st.NICSockets
	n.mu.Unlock()
	reboots := inst.RebootsRequested
	var detail string
	if st.State == hypervisor.StatePaused {
		detail = st.Detail
	}
	changed := inst.State != model.InstanceRunning || inst.Accel != st.Accel || inst.RebootsDone != reboots || inst.StateReason.Message != detail
	if changed {
		err := n.edit(ctx, inst.ID, func(i *model.Instance) {
			if i.Desired != model.InstanceRunning {
				return // stopped or terminated meanwhile
			}
			i.State, i.Booted, i.Accel, i.RebootsDone = model.InstanceRunning, true, st.Accel, reboots
			i.StateReason = model.Reason{}
			if detail != "" {
				i.StateReason = model.Reason{Code: codeInternal, Message: detail}
				i.Reachability = model.ReachabilityFailed
			}
		})
		if err != nil {
			return err
		}
	}
	switch {
	case inst.Metadata.Pending:
		if err := n.applyNetwork(ctx); err != nil {
			return err
		}
		if err := n.metadataApplied(ctx, inst); err != nil {
			return err
		}
	case changed || !known:
		// Not waited for: the guest takes longer to boot, and of many machines
		// that start together each would wait for the network of all.
		n.wakeNetwork()
	}
	if inst.Reachability != model.ReachabilityPassed && detail == "" {
		n.prober.add(inst.ID, time.Now())
	}
	return nil
}

// metadataApplied records that the metadata service works by these options now,
// unless they have changed again.
func (n *Node) metadataApplied(ctx context.Context, inst *model.Instance) error {
	return n.edit(ctx, inst.ID, func(i *model.Instance) {
		if i.Metadata == inst.Metadata {
			i.Metadata.Pending = false
		}
	})
}

// guestShutdown follows a guest that powered itself off.
func (n *Node) guestShutdown(ctx context.Context, inst *model.Instance) error {
	return n.edit(ctx, inst.ID, func(i *model.Instance) {
		if i.State != model.InstanceRunning {
			return
		}
		i.StateReason = model.Reason{Code: codeGuestShutdown, Message: codeGuestShutdown + ": Instance initiated shutdown"}
		i.TransitionReason, i.Reachability = codeGuestShutdown, ""
		i.StopRequested = n.Now().UTC()
		i.Desired, i.State = model.InstanceStopped, model.InstanceStopping
		if i.TerminateOnHalt {
			i.Desired, i.State = model.InstanceTerminated, model.InstanceShuttingDown
		}
	})
}

// recordCrash notes an unexpected end of the machine and reports whether it is
// to be started again.
func (n *Node) recordCrash(ctx context.Context, inst *model.Instance, st hypervisor.Status) (bool, error) {
	now := n.Now().UTC()
	recent := slices.DeleteFunc(slices.Clone(inst.Crashes), func(t time.Time) bool { return now.Sub(t) > crashWindow })
	recent = append(recent, now)
	n.Logger.Warn("a machine ended unexpectedly", "instance", inst.ID, "detail", st.Detail, "recent", len(recent))
	if inst.Options.NoAutoRecovery {
		return false, n.startFailed(ctx, inst, fmt.Errorf("the machine ended, and automatic recovery is disabled: %s", st.Detail))
	}
	if len(recent) > maxCrashes {
		return false, n.startFailed(ctx, inst, fmt.Errorf("the machine ended %d times within %s: %s", len(recent), crashWindow, st.Detail))
	}
	err := n.edit(ctx, inst.ID, func(i *model.Instance) {
		i.Crashes, i.Reachability = recent, model.ReachabilityInitializing
	})
	inst.Crashes, inst.Reachability = recent, model.ReachabilityInitializing
	return true, err
}

// powerOff asks the guest to power off, once, and pulls the plug when the grace
// period since StopRequested is over.
func (n *Node) powerOff(ctx context.Context, inst *model.Instance, force bool) (time.Duration, error) {
	left := inst.StopRequested.Add(n.ShutdownGrace).Sub(n.Now())
	if force || left <= 0 {
		if err := n.Driver.Kill(ctx, inst.ID); err != nil {
			return 0, fmt.Errorf("ending machine %s: %w", inst.ID, err)
		}
		n.queue.add(inst.ID)
		return 0, nil
	}
	n.mu.Lock()
	first := !n.pressed[inst.ID]
	n.pressed[inst.ID] = true
	n.mu.Unlock()
	if first {
		if err := n.Driver.PowerButton(ctx, inst.ID); err != nil && !errors.Is(err, hypervisor.ErrNotRunning) {
			return 0, fmt.Errorf("asking machine %s to power off: %w", inst.ID, err)
		}
	}
	return left, nil
}

func (n *Node) stop(ctx context.Context, inst *model.Instance, st hypervisor.Status) (time.Duration, error) {
	if inst.State != model.InstanceStopping {
		return 0, nil
	}
	if st.State != hypervisor.StateStopped {
		return n.powerOff(ctx, inst, inst.ForceStop)
	}
	if err := n.leave(ctx, inst.ID, n.Driver.Kill); err != nil {
		return 0, err
	}
	return 0, n.Store.Update(ctx, func(tx *store.Tx) error {
		i, err := records.Instances.Get(tx, inst.ID)
		if err != nil || i.State != model.InstanceStopping {
			return err
		}
		i.State, i.ForceStop, i.Accel, i.Reachability = model.InstanceStopped, false, model.Accelerator{}, ""
		i.RebootsDone = i.RebootsRequested
		if err := records.StopInterfaces(tx, &i); err != nil {
			return err
		}
		return records.Instances.Put(tx, &i)
	})
}

// terminate ends the machine and frees everything the instance had. A guest is
// asked to power off first only if a volume of it stays.
func (n *Node) terminate(ctx context.Context, inst *model.Instance, st hypervisor.Status) (time.Duration, error) {
	keeps := slices.ContainsFunc(inst.Volumes, func(v model.InstanceVolume) bool { return !v.DeleteOnTermination })
	if st.State == hypervisor.StateRunning && keeps && !inst.ForceStop && inst.Booted {
		if again, err := n.powerOff(ctx, inst, false); err != nil || again > 0 {
			return again, err
		}
	}
	console, _ := n.Console(ctx, inst.ID, 8<<10) // a comfort: its loss does not hold up the end
	if err := n.leave(ctx, inst.ID, n.Driver.Remove); err != nil {
		return 0, err
	}
	garbage, err := n.release(ctx, inst.ID, console)
	if err != nil {
		return 0, err
	}
	if err := n.deleteLayers(ctx, garbage); err != nil {
		return 0, err
	}
	n.wakeCollector()
	return terminatedFor, nil
}

// leave takes the machine off the host and off the network.
func (n *Node) leave(ctx context.Context, id string, end func(context.Context, string) error) error {
	n.mu.Lock()
	_, joined := n.sockets[id]
	delete(n.sockets, id)
	delete(n.pressed, id)
	n.mu.Unlock()
	n.prober.remove(id)
	// Neither waits for the other: a port whose machine is gone, and a machine
	// whose port is gone, are both harmless.
	var g errgroup.Group
	g.Go(func() error {
		if err := end(ctx, id); err != nil {
			return fmt.Errorf("ending machine %s: %w", id, err)
		}
		return nil
	})
	if joined {
		g.Go(func() error { return n.applyNetwork(ctx) })
	}
	return g.Wait()
}

// release frees an ended instance's records in one transaction and returns the
// layers whose files are garbage now.
func (n *Node) release(ctx context.Context, id string, console []byte) (garbage []string, err error) {
	err = n.Store.Update(ctx, func(tx *store.Tx) error {
		garbage = garbage[:0]
		inst, err := records.Instances.Get(tx, id)
		if err != nil {
			return err
		}
		for _, v := range inst.Volumes {
			freed, err := releaseVolume(tx, v)
			if err != nil {
				return err
			}
			garbage = append(garbage, freed...)
		}
		if err := records.ReleaseInterfaces(tx, &inst); err != nil {
			return err
		}
		inst.State, inst.TerminatedAt, inst.Reachability = model.InstanceTerminated, n.Now().UTC(), ""
		inst.Accel, inst.Volumes, inst.ConsoleAtEnd, inst.UserData = model.Accelerator{}, nil, console, nil
		inst.Interface, inst.Others = model.NetworkInterface{}, nil
		return records.Instances.Put(tx, &inst)
	})
	return garbage, err
}

func releaseVolume(tx *store.Tx, v model.InstanceVolume) (garbage []string, err error) {
	vol, err := records.Volumes.Get(tx, v.VolumeID)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !v.DeleteOnTermination {
		vol.State, vol.Attachment = model.VolumeAvailable, nil
		return nil, records.Volumes.Put(tx, &vol)
	}
	return forgetVolume(tx, &vol)
}

// forget removes the record of an instance that was terminated long enough ago.
func (n *Node) forget(ctx context.Context, inst *model.Instance) (time.Duration, error) {
	if left := inst.TerminatedAt.Add(terminatedFor).Sub(n.Now()); left > 0 {
		return left, nil
	}
	return 0, n.Store.Update(ctx, func(tx *store.Tx) error { return records.Instances.Delete(tx, inst.ID) })
}
