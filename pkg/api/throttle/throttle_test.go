package throttle_test

import (
	"context"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/throttle"
	"github.com/bundt/bundt/pkg/model"
)

func TestLimiter(t *testing.T) {
	now := time.Unix(1000, 0)
	l := throttle.New(throttle.Rate{PerSecond: 10, Burst: 3}, throttle.Rate{PerSecond: 1, Burst: 1}, func() time.Time { return now })
	call := func(account, action string) bool {
		t.Helper()
		reached := false
		_, err := l.Intercept(t.Context(), &api.Call{Action: action, Principal: api.Principal{AccountID: account}}, func(context.Context, *api.Call) (any, error) {
			reached = true
			return nil, nil
		})
		if code := model.CodeOf(err); reached != (err == nil) || (err != nil && code != "RequestLimitExceeded") {
			t.Fatalf("reached %v, %v", reached, err)
		}
		return reached
	}
	for i, want := range []bool{true, true, true, false} {
		if call("a", "DescribeInstances") != want {
			t.Errorf("read %d: %v", i, !want)
		}
	}
	if !call("a", "RunInstances") || call("a", "RunInstances") {
		t.Error("changes have a bucket of their own, of one")
	}
	if !call("b", "DescribeInstances") {
		t.Error("another account was limited")
	}
	now = now.Add(100 * time.Millisecond)
	if !call("a", "DescribeInstances") || call("a", "DescribeInstances") {
		t.Error("after a tenth of a second there is one more")
	}
	if api.HTTPStatus("RequestLimitExceeded") != 503 {
		t.Error("clients try again after a 503")
	}
	free := throttle.New(throttle.Rate{}, throttle.Rate{}, nil)
	for range 1000 {
		if _, err := free.Intercept(t.Context(), &api.Call{Action: "RunInstances"}, func(context.Context, *api.Call) (any, error) { return nil, nil }); err != nil {
			t.Fatal(err)
		}
	}
}
