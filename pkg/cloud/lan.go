package cloud

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// The bounds of a trial, and how long it is unless somebody says otherwise.
const (
	shortestTrial = 10 * time.Second
	longestTrial  = time.Hour
	usualTrial    = 2 * time.Minute
)

// LANRequest is what AttachLAN asks for.
type LANRequest struct {
	Interface string
	Addresses []string
	Trial     time.Duration // 0: the usual
}

// ParseLANAddresses reads the addresses of a LANRequest.
func ParseLANAddresses(texts []string) (out []netip.Addr, err error) {
	for _, s := range texts {
		a, err := netip.ParseAddr(s)
		if err != nil || !a.Is4() {
			return nil, model.Errorf(model.CodeInvalidParameterValue, "Address %q is no IPv4 address", s)
		}
		out = append(out, a)
	}
	if len(out) == 0 {
		return nil, model.Errorf(model.CodeMissingParameter, "The request must contain the parameter Addresses")
	}
	return out, nil
}

// AttachLAN writes the intent to have addresses on an interface of the host: on trial,
// until ConfirmLAN. The node refuses what it cannot have.
func (c *Account) AttachLAN(ctx context.Context, r LANRequest) (l model.LAN, err error) {
	if _, err := ParseLANAddresses(r.Addresses); err != nil {
		return l, err
	}
	trial := cmp.Or(r.Trial, usualTrial)
	if r.Interface == "" || len(r.Interface) > 15 {
		return l, model.Errorf(model.CodeInvalidParameterValue, "Interface %q is no name of an interface", r.Interface)
	}
	if trial < shortestTrial || trial > longestTrial {
		return l, model.Errorf(model.CodeInvalidParameterValue, "A trial takes %s to %s, not %s", shortestTrial, longestTrial, trial)
	}
	err = c.store.Update(ctx, func(tx *store.Tx) error {
		node, err := c.bakery(tx)
		if err != nil {
			return err
		}
		all, err := records.LANs.List(tx)
		if err != nil {
			return err
		}
		for _, o := range all {
			if o.Interface != r.Interface || o.Node != node {
				continue
			}
			if !o.State.Over() {
				return model.Errorf("Lan.Duplicate", "The interface %s is %s already", o.Interface, o.State).WithHint("bundt lan detach %s", o.Interface)
			}
			if err := records.LANs.Delete(tx, o.ID); err != nil {
				return err
			}
		}
		l = model.LAN{
			ID: model.NewID(model.LANPrefix), Node: node, Interface: r.Interface, Addresses: r.Addresses, State: model.LANPending,
			Trial: int(trial / time.Second), Created: c.Now(),
		}
		return records.LANs.Put(tx, &l)
	})
	return l, err
}

// LANs returns the attachments, by interface.
func (c *Account) LANs(ctx context.Context) ([]model.LAN, error) {
	all, err := list(ctx, c.store, records.LANs)
	slices.SortFunc(all, func(a, b model.LAN) int { return cmp.Compare(a.Interface, b.Interface) })
	return all, err
}

func lanOf(tx *store.Tx, name string) (model.LAN, error) {
	all, err := records.LANs.List(tx)
	if err != nil {
		return model.LAN{}, err
	}
	i := slices.IndexFunc(all, func(l model.LAN) bool { return l.Interface == name })
	if i < 0 {
		return model.LAN{}, model.Errorf("Lan.NotFound", "The interface %s is not attached", name).WithHint("bundt lan ls lists those that are")
	}
	return all[i], nil
}

// ConfirmLAN keeps an attachment that is on trial. Confirming it again is success.
func (c *Account) ConfirmLAN(ctx context.Context, name string) (l model.LAN, err error) {
	err = c.store.Update(ctx, func(tx *store.Tx) error {
		if l, err = lanOf(tx, name); err != nil {
			return err
		}
		switch {
		case l.State == model.LANAttached:
			return nil
		case l.State != model.LANTrial || !c.Now().Before(l.Until):
			return model.Errorf(model.CodeIncorrectState, "The attachment of %s is %s: there is nothing to confirm", name, l.State)
		}
		l.Confirmed = true
		return records.LANs.Put(tx, &l)
	})
	return l, err
}

// DetachLAN writes the intent to take the addresses from the interface. None of them
// may be allocated.
func (c *Account) DetachLAN(ctx context.Context, name string) (l model.LAN, err error) {
	err = c.store.Update(ctx, func(tx *store.Tx) error {
		if l, err = lanOf(tx, name); err != nil {
			return err
		}
		for _, a := range l.Addresses {
			taken, err := records.Addresses.Exists(tx, records.AddressKey(records.PublicPool, a))
			if err != nil {
				return err
			}
			if taken {
				return model.Errorf(codeDependency, "The address %s of %s is allocated", a, name).WithHint("release it first: bundt address release %s", a)
			}
		}
		if l.State.Over() {
			return records.LANs.Delete(tx, l.ID)
		}
		l.State = model.LANDetaching
		return records.LANs.Put(tx, &l)
	})
	return l, err
}

// lanAddress reports whether an address is one of an interface that is attached.
func lanAddress(tx *store.Tx, ip string) (bool, error) {
	all, err := records.LANs.List(tx)
	return slices.ContainsFunc(all, func(l model.LAN) bool { return l.State == model.LANAttached && slices.Contains(l.Addresses, ip) }), err
}
