package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/network"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// settleInterfaces does what is due to the interfaces of an instance whose machine
// does not run, before it may be started.
func (n *Node) settleInterfaces(ctx context.Context, inst *model.Instance) error {
	for _, nic := range inst.Others {
		var err error
		switch at := nic.Attachment; {
		case at.State == model.Attaching:
			err = n.interfaceAttached(ctx, nic.ID, at.ID)
		case at.State.Leaving():
			if err = n.interfaceDetached(ctx, nic.ID, at.ID); err == nil {
				inst.Others = slices.DeleteFunc(slices.Clone(inst.Others), func(o model.NetworkInterface) bool { return o.ID == nic.ID })
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// plugInterfaces gives a running machine the interfaces that it shall have and
// takes those that are to be detached. again is when to look again in any case.
func (n *Node) plugInterfaces(ctx context.Context, inst *model.Instance, again time.Duration) (time.Duration, error) {
	for i := range inst.Others {
		nic := &inst.Others[i]
		var err error
		switch at := nic.Attachment; {
		case at.State == model.Attaching:
			err = n.plugInterface(ctx, inst, nic)
		case at.State.Leaving():
			err = n.unplugInterface(ctx, inst, nic)
		}
		if errors.Is(err, hypervisor.ErrBusy) { // the guest holds it, or one that was taken by force
			if again == 0 || again > busyAgain {
				again = busyAgain
			}
			continue
		}
		if err != nil {
			return again, err
		}
	}
	return again, nil
}

func (n *Node) plugInterface(ctx context.Context, inst *model.Instance, nic *model.NetworkInterface) error {
	p, err := n.nicPlugger()
	if err != nil {
		return err
	}
	has, err := p.NICs(ctx, inst.ID)
	if err != nil {
		return fmt.Errorf("listing the interfaces of machine %s: %w", inst.ID, err)
	}
	var tap *os.File
	if !slices.Contains(has, nic.ID) {
		if tap, err = n.attachPlugged(ctx, inst.ID, nic.ID); err != nil {
			return err
		}
	}
	// Repeated even if the interface is there: the driver may have been ended before
	// it recorded it.
	err = p.AttachNIC(ctx, inst.ID, n.nicOf(nic), tap)
	if tap != nil {
		tap.Close() // the machine has its own
	}
	if err != nil {
		return fmt.Errorf("attaching interface %s to machine %s: %w", nic.ID, inst.ID, err)
	}
	// On the network before it is told of, so that the guest's first question for
	// an address is answered.
	if err := n.rejoin(ctx, inst.ID); err != nil {
		return err
	}
	return n.interfaceAttached(ctx, nic.ID, nic.Attachment.ID)
}

// attachPlugged opens the place in the network of an interface that joins a
// running machine, if the network has guests attached by open files.
func (n *Node) attachPlugged(ctx context.Context, instanceID, nicID string) (*os.File, error) {
	a, ok := n.Datapath.(network.Attacher)
	if !ok {
		return nil, nil
	}
	n.setSockets(instanceID, nicID)
	if err := n.applyNetwork(ctx); err != nil {
		return nil, err
	}
	f, err := a.Attach(ctx, nicID)
	if err != nil {
		return nil, fmt.Errorf("attaching interface %s: %w", nicID, err)
	}
	return f, nil
}

// setSockets adds an interface without a socket to those of a machine.
func (n *Node) setSockets(instanceID, nicID string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	next := map[string]string{nicID: ""}
	for id, socket := range n.sockets[instanceID] {
		next[id] = socket
	}
	n.sockets[instanceID] = next
}

func (n *Node) unplugInterface(ctx context.Context, inst *model.Instance, nic *model.NetworkInterface) error {
	p, err := n.nicPlugger()
	if err != nil {
		return err
	}
	if err := p.DetachNIC(ctx, inst.ID, nic.ID, nic.Attachment.Force); err != nil {
		return fmt.Errorf("detaching interface %s from machine %s: %w", nic.ID, inst.ID, err)
	}
	// Off the network before another instance may have it.
	if err := n.rejoin(ctx, inst.ID); err != nil {
		return err
	}
	return n.interfaceDetached(ctx, nic.ID, nic.Attachment.ID)
}

// rejoin makes the network carry the interfaces that a machine has now.
func (n *Node) rejoin(ctx context.Context, id string) error {
	st, err := n.Driver.Status(ctx, id)
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.sockets[id] = st.NICSockets
	n.mu.Unlock()
	return n.applyNetwork(ctx)
}

func (n *Node) nicPlugger() (hypervisor.NICPlugger, error) {
	p, ok := n.Driver.(hypervisor.NICPlugger)
	if !ok {
		return nil, fmt.Errorf("changing the interfaces of a running machine: %w (driver %s)", hypervisor.ErrUnsupported, n.Driver.Name())
	}
	return p, nil
}

// interfaceAttached records that the instance has an interface, unless it is to be
// detached again.
func (n *Node) interfaceAttached(ctx context.Context, id, attachment string) error {
	return n.editInterface(ctx, id, attachment, func(tx *store.Tx, nic *model.NetworkInterface) error {
		if nic.Attachment.State != model.Attaching {
			return nil
		}
		at := *nic.Attachment
		at.State = model.Attached
		nic.Attachment = &at
		return records.PutInterface(tx, nic)
	})
}

// interfaceDetached records that an interface is no longer its instance's.
func (n *Node) interfaceDetached(ctx context.Context, id, attachment string) error {
	return n.editInterface(ctx, id, attachment, func(tx *store.Tx, nic *model.NetworkInterface) error {
		if !nic.Attachment.State.Leaving() {
			return nil
		}
		return records.DetachInterface(tx, nic)
	})
}

// editInterface changes the record of an interface that has this attachment still.
func (n *Node) editInterface(ctx context.Context, id, attachment string, change func(*store.Tx, *model.NetworkInterface) error) error {
	return n.Store.Update(ctx, func(tx *store.Tx) error {
		nic, err := records.Interfaces.Get(tx, id)
		if errors.Is(err, store.ErrNotFound) || err == nil && (nic.Attachment == nil || nic.Attachment.ID != attachment) {
			return nil
		}
		if err != nil {
			return err
		}
		return change(tx, &nic)
	})
}
