package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/bundt/bundt/pkg/lan"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// reconcileLAN brings the addresses that an attachment has on its interface to what
// it wants. What is on trial goes by itself, even if nobody runs who could take it.
func (n *Node) reconcileLAN(ctx context.Context, id string) (time.Duration, error) {
	var l model.LAN
	err := n.Store.View(ctx, func(tx *store.Tx) (err error) {
		l, err = records.LANs.Get(tx, id)
		return err
	})
	if errors.Is(err, store.ErrNotFound) || err == nil && (l.Node != n.ID || l.State.Over()) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	addresses, err := parseAddresses(l.Addresses)
	if err != nil {
		return 0, err
	}
	switch left := l.Until.Sub(n.Now()); {
	case l.State == model.LANDetaching:
		if err := lan.Drop(l.Interface, addresses); err != nil {
			return 0, err
		}
		return 0, n.Store.Update(ctx, func(tx *store.Tx) error { return records.LANs.Delete(tx, l.ID) })
	case l.State == model.LANPending:
		return n.tryLAN(ctx, &l, addresses)
	case l.State == model.LANAttached, l.Confirmed && left > 0:
		return 0, n.keepLAN(ctx, &l, addresses)
	case left > 0:
		return left, nil
	}
	if err := lan.Drop(l.Interface, addresses); err != nil {
		return 0, err
	}
	n.Logger.Warn("an attachment that nobody confirmed was rolled back", "interface", l.Interface, "addresses", l.Addresses)
	return 0, n.lanIs(ctx, &l, model.LANRolledBack, "nobody confirmed it in time")
}

func parseAddresses(texts []string) (out []netip.Addr, err error) {
	for _, s := range texts {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

// tryLAN begins a trial, or says why it cannot.
func (n *Node) tryLAN(ctx context.Context, l *model.LAN, addresses []netip.Addr) (time.Duration, error) {
	if _, err := lan.Preview(ctx, l.Interface, addresses); err != nil {
		return 0, n.lanIs(ctx, l, model.LANFailed, err.Error())
	}
	trial := time.Duration(l.Trial) * time.Second
	l.Until = n.Now().UTC().Add(trial)
	// Written first: what is on the interface is known, whatever comes between.
	if err := n.lanIs(ctx, l, model.LANTrial, ""); err != nil {
		return 0, err
	}
	if err := lan.Take(l.Interface, addresses, trial); err != nil {
		return 0, n.lanIs(ctx, l, model.LANFailed, errors.Join(err, lan.Drop(l.Interface, addresses)).Error())
	}
	n.Logger.Info("addresses are on trial", "interface", l.Interface, "addresses", l.Addresses, "until", l.Until)
	return trial, nil
}

// keepLAN makes the addresses stay: they may be gone after a start of the host.
func (n *Node) keepLAN(ctx context.Context, l *model.LAN, addresses []netip.Addr) error {
	if err := lan.Take(l.Interface, addresses, lan.Forever); err != nil {
		return fmt.Errorf("keeping the addresses of %s: %w", l.Interface, err)
	}
	if l.State == model.LANAttached {
		return nil
	}
	return n.lanIs(ctx, l, model.LANAttached, "")
}

func (n *Node) lanIs(ctx context.Context, l *model.LAN, state model.LANState, why string) error {
	return n.Store.Update(ctx, func(tx *store.Tx) error {
		now, err := records.LANs.Get(tx, l.ID)
		if err != nil || now.State == model.LANDetaching {
			return err
		}
		now.State, now.Message, now.Until = state, why, l.Until
		return records.LANs.Put(tx, &now)
	})
}
