package cloud

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bundt/bundt/pkg/model"
)

// Forest is where an account's objects came from: the oldest first, parents before
// their children. It is shared with other readers and must not be changed.
type Forest struct {
	Nodes    []*Ancestor
	byID     map[string]*Ancestor
	children map[string][]*Ancestor
}

// Ancestor is a node of a Forest.
type Ancestor struct {
	*model.Lineage
	// Key is the node's place in the order: it stays the same as long as its
	// ancestors do.
	Key string

	after time.Time // not before its own or its ancestors' time
	depth int
}

// Family returns the whole tree that id is part of: its ancestors, and all that
// descends from the oldest of them. It is nil if nothing is known of id.
func (f *Forest) Family(id string) []*Ancestor {
	root := f.byID[id]
	if root == nil {
		return nil
	}
	for parent := f.byID[root.Parent]; parent != nil; parent = f.byID[root.Parent] {
		root = parent
	}
	out := []*Ancestor{root}
	for i := 0; i < len(out); i++ {
		out = append(out, f.children[out[i].ID]...)
	}
	sortAncestors(out)
	return out
}

func sortAncestors(nodes []*Ancestor) {
	slices.SortFunc(nodes, func(a, b *Ancestor) int { return strings.Compare(a.Key, b.Key) })
}

// trees remember the accounts' forests, until a lineage changes.
type trees struct {
	mu    sync.Mutex
	of    []*model.Lineage
	plant map[string]*Forest
}

// Lineage returns where the account's objects came from, back to the first
// ancestor that is another account's: what that one was made of is not shown.
func (c *Account) Lineage(ctx context.Context) (*Forest, error) {
	all, err := c.views.lineage.find(ctx, c.id, nil)
	if err != nil {
		return nil, err
	}
	t := &c.views.trees
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.plant == nil || !sameList(t.of, all) {
		t.of, t.plant = all, map[string]*Forest{}
	}
	f := t.plant[c.id]
	if f == nil {
		f = newForest(shownTo(c.id, all))
		t.plant[c.id] = f
	}
	return f, nil
}

// shownTo are the lineages that the account sees.
func shownTo(account string, all []*model.Lineage) map[string]*model.Lineage {
	byID := make(map[string]*model.Lineage, len(all))
	for _, l := range all {
		byID[l.ID] = l
	}
	shown := make(map[string]*model.Lineage, len(all))
	for _, l := range all {
		for ; l != nil && l.OwnerID == account && shown[l.ID] == nil; l = byID[l.Parent] {
			shown[l.ID] = l
			if parent := byID[l.Parent]; parent != nil && parent.OwnerID != account {
				shown[parent.ID] = parent
			}
		}
	}
	return shown
}

func newForest(shown map[string]*model.Lineage) *Forest {
	f := &Forest{byID: make(map[string]*Ancestor, len(shown)), children: map[string][]*Ancestor{}}
	f.Nodes = make([]*Ancestor, 0, len(shown))
	for _, l := range shown {
		f.add(shown, l)
	}
	sortAncestors(f.Nodes)
	return f
}

// add places a lineage and first those of its ancestors that have no place yet.
func (f *Forest) add(shown map[string]*model.Lineage, l *model.Lineage) {
	var line []*model.Lineage
	for ; l != nil && f.byID[l.ID] == nil; l = shown[l.Parent] {
		line = append(line, l)
	}
	for _, l := range slices.Backward(line) {
		a := &Ancestor{Lineage: l, after: l.Created}
		if parent := f.byID[l.Parent]; parent != nil {
			a.depth = parent.depth + 1
			if parent.after.After(a.after) {
				a.after = parent.after
			}
			f.children[l.Parent] = append(f.children[l.Parent], a)
		}
		a.Key = fmt.Sprintf("%s/%06d/%s", a.after.UTC().Format("2006-01-02T15:04:05.000000000"), a.depth, l.ID)
		f.byID[l.ID], f.Nodes = a, append(f.Nodes, a)
	}
}

// Looks returns what images and instances of the account are now: a function that
// says the state and the architecture of an id, empty for what is gone.
func (c *Account) Looks(ctx context.Context) (func(id string) (state, arch string), error) {
	image, err := c.views.images.mirror.Getter(ctx)
	if err != nil {
		return nil, err
	}
	instance, err := c.views.instances.mirror.Getter(ctx)
	if err != nil {
		return nil, err
	}
	return func(id string) (state, arch string) {
		if i := image(id); i != nil && i.UsableBy(c.id) {
			return string(i.State), string(i.Arch)
		}
		if i := instance(id); i != nil && i.OwnerID == c.id {
			return string(i.State), string(i.Arch)
		}
		return "", ""
	}, nil
}
