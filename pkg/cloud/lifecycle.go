package cloud

import (
	"context"
	"slices"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// StateChange is an instance's state before and after a call.
type StateChange struct {
	ID                string
	Previous, Current model.InstanceState
}

// The reasons EC2 gives for changes of state that a user asked for.
const (
	reasonUser     = "Client.UserInitiatedShutdown"
	reasonUserText = "Client.UserInitiatedShutdown: User initiated shutdown"
)

// Start writes the intent to start stopped instances. Instances that run or are
// pending are left alone, as on EC2.
func (c *Account) Start(ctx context.Context, ids []string) ([]StateChange, error) {
	admitted := c.admission.begin()
	defer admitted.release()
	var current *store.Tx
	out, err := c.change(ctx, ids, func(tx *store.Tx, i *model.Instance) error {
		if tx != current { // another attempt
			admitted.release()
			current = tx
		}
		switch i.State {
		case model.InstancePending, model.InstanceRunning:
			return nil
		case model.InstanceStopped:
		default:
			return wrongState(i, "started")
		}
		if !hasRoot(i) {
			return noRoot(i)
		}
		typ, err := chooseType(i.Type, i.Arch)
		if err != nil {
			return err
		}
		if err := c.admitStart(ctx, tx, admitted, i, typ); err != nil {
			return err
		}
		if err := c.startInterfaces(tx, i); err != nil {
			return err
		}
		i.State, i.Desired = model.InstancePending, model.InstanceRunning
		i.StateReason, i.TransitionReason = model.Reason{}, ""
		i.LaunchTime = c.now().UTC() // EC2 sets it anew at each start
		i.Reachability = model.ReachabilityInitializing
		i.RebootsDone = i.RebootsRequested
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, c.views.instances.mirror.Await(ctx) // what was promised is seen to be taken
}

func (c *Account) admitStart(ctx context.Context, tx *store.Tx, admitted *promise, i *model.Instance, typ model.InstanceType) (err error) {
	want := ask{account: c.id, typ: typ, started: i.ID}
	if want.quotas, err = c.quotas(tx); err != nil {
		return err
	}
	if want.nodes, err = nodesFor(tx, i.Arch); err != nil {
		return err
	}
	want.nodes = slices.DeleteFunc(want.nodes, func(n model.Node) bool { return n.ID != i.Node })
	_, _, err = admitted.admit(ctx, want)
	return err
}

// Stop writes the intent to stop running instances; with force the guest is not
// asked first.
func (c *Account) Stop(ctx context.Context, ids []string, force bool) ([]StateChange, error) {
	return c.change(ctx, ids, func(_ *store.Tx, i *model.Instance) error {
		switch i.State {
		case model.InstanceStopped:
			return nil
		case model.InstanceStopping:
			i.ForceStop = i.ForceStop || force
			return nil
		case model.InstanceRunning, model.InstancePending:
		default:
			return wrongState(i, "stopped")
		}
		if i.State == model.InstancePending {
			return wrongState(i, "stopped")
		}
		if err := refuseStop(i); err != nil {
			return err
		}
		i.State, i.Desired, i.ForceStop = model.InstanceStopping, model.InstanceStopped, force
		i.StopRequested = c.now().UTC()
		c.userShutdown(i)
		return nil
	})
}

// Reboot writes the intent to reboot running instances.
func (c *Account) Reboot(ctx context.Context, ids []string) error {
	_, err := c.change(ctx, ids, func(_ *store.Tx, i *model.Instance) error {
		if i.State != model.InstanceRunning {
			return wrongState(i, "rebooted")
		}
		requestReboot(i, c.now().UTC())
		return nil
	})
	return err
}

// Terminate writes the intent to end instances for ever. Repeating it is success.
func (c *Account) Terminate(ctx context.Context, ids []string) ([]StateChange, error) {
	return c.change(ctx, ids, func(_ *store.Tx, i *model.Instance) error {
		if i.State == model.InstanceTerminated || i.State == model.InstanceShuttingDown {
			return nil
		}
		if err := refuseTermination(i); err != nil {
			return err
		}
		i.State, i.Desired = model.InstanceShuttingDown, model.InstanceTerminated
		i.StopRequested = c.now().UTC()
		c.userShutdown(i)
		return nil
	})
}

func (c *Account) userShutdown(i *model.Instance) {
	i.StateReason = model.Reason{Code: reasonUser, Message: reasonUserText}
	i.TransitionReason = "User initiated (" + c.now().UTC().Format("2006-01-02 15:04:05 GMT") + ")"
	i.Reachability = ""
}

// change applies edit to each instance in one transaction: one bad id or state
// fails the whole call and changes nothing.
func (c *Account) change(ctx context.Context, ids []string, edit func(*store.Tx, *model.Instance) error) ([]StateChange, error) {
	if len(ids) == 0 {
		return nil, model.Errorf(model.CodeMissingParameter, "The request must contain the parameter InstanceId")
	}
	var out []StateChange
	err := c.store.Update(ctx, func(tx *store.Tx) error {
		out = out[:0]
		for _, id := range ids {
			i, err := c.instance(tx, id)
			if err != nil {
				return err
			}
			before := i.State
			if err := edit(tx, &i); err != nil {
				return err
			}
			if err := records.Instances.Put(tx, &i); err != nil {
				return err
			}
			out = append(out, StateChange{ID: id, Previous: before, Current: i.State})
		}
		return nil
	})
	return out, err
}

func (c *Account) instance(tx *store.Tx, id string) (model.Instance, error) {
	if model.CheckID(model.InstancePrefix, id) != nil {
		return model.Instance{}, instanceMalformed(id)
	}
	return own(c, tx, records.Instances, id, instanceNotFound(id))
}

func instanceMalformed(id string) *model.Error {
	return model.Errorf(model.CodeInstanceIDMalformed, "Invalid id: \"%s\"", id)
}

func instanceNotFound(id string) *model.Error {
	return model.Errorf(model.CodeInstanceIDNotFound, "The instance ID '%s' does not exist", id).
		WithHint("bundt ls shows the instances there are")
}

func wrongState(i *model.Instance, verb string) *model.Error {
	e := model.Errorf(model.CodeIncorrectInstanceState, "The instance '%s' is not in a state from which it can be %s: it is %s", i.ID, verb, i.State)
	switch i.State {
	case model.InstancePending, model.InstanceStopping:
		return e.WithHint("wait until it is done: bundt wait %s running|stopped", i.ID)
	case model.InstanceStopped:
		return e.WithHint("start it first: bundt start %s", i.ID)
	}
	return e
}
