package node

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/metadata"
	"github.com/bundt/bundt/pkg/model"
)

// oneRole hands out one role, as it is set.
type oneRole struct {
	now  time.Time
	role model.Role
	err  error
	made int
}

func (r *oneRole) InstanceRole(context.Context, string, *model.ProfileAssociation) (model.Role, error) {
	return r.role, r.err
}

func (r *oneRole) InstanceCredentials(role model.Role, instanceID string) (metadata.Credentials, error) {
	r.made++
	return metadata.Credentials{AccessKeyID: fmt.Sprintf("%s-%s-%d", role.Name, instanceID, r.made), Expires: r.now.Add(6 * time.Hour)}, nil
}

func TestGrantRoles(t *testing.T) {
	r := &oneRole{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), role: model.Role{ID: "AROA1", Name: "app"}}
	n := &Node{Options: Options{ID: "here", Roles: r, Now: func() time.Time { return r.now }}, netChanged: make(chan struct{}, 1)}
	profile := &model.ProfileAssociation{ID: "iip-assoc-1"}
	instances := []*model.Instance{
		{ID: "i-1", Node: "here", State: model.InstanceRunning, Profile: profile},
		{ID: "i-none", Node: "here", State: model.InstanceRunning},
		{ID: "i-away", Node: "there", State: model.InstanceRunning, Profile: profile},
		{ID: "i-gone", Node: "here", State: model.InstanceTerminated, Profile: profile},
	}
	grant := func(what, wantKey, wantProblem string) {
		t.Helper()
		if err := n.grantRoles(t.Context(), instances); err != nil {
			t.Fatal(err)
		}
		if len(n.grants) != 1 {
			t.Fatalf("%s: there are %d grants", what, len(n.grants))
		}
		if p := n.grants["i-1"].profile; p.Credentials.AccessKeyID != wantKey || p.Problem != wantProblem {
			t.Errorf("%s: %+v, want the key %q and the problem %q", what, p, wantKey, wantProblem)
		}
	}
	grant("at first", "app-i-1-1", "")
	r.now = r.now.Add(3*time.Hour - time.Second)
	grant("before half of their time", "app-i-1-1", "")
	r.now = r.now.Add(time.Second)
	grant("after half of their time", "app-i-1-2", "")
	r.role = model.Role{ID: "AROA2", Name: "app"}
	grant("another role of the same name", "app-i-1-3", "")
	r.err = model.Errorf("AccessDenied", "no")
	grant("not to be assumed", "", r.err.Error())
	r.err = nil
	grant("to be assumed again", "app-i-1-4", "")
	instances[0].Profile = &model.ProfileAssociation{ID: "iip-assoc-2"}
	grant("another association", "app-i-1-5", "")
	r.err = context.DeadlineExceeded
	if err := n.grantRoles(t.Context(), instances); err == nil {
		t.Error("a store that does not answer is no error")
	}
	if n.grants["i-1"].profile.Credentials.AccessKeyID != "app-i-1-5" {
		t.Errorf("then there is %+v", n.grants["i-1"].profile)
	}
	n.renewal.Stop()
}
