package store

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"
)

// serveEtcd runs an etcd of somebody else's on a unix socket.
func serveEtcd(t *testing.T) (endpoint string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "etcd") // short: socket paths are limited
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	u := url.URL{Scheme: "unix", Path: filepath.Join(dir, "s")}
	cfg := memberConfig(filepath.Join(dir, "data"), zap.NewNop())
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{u}, []url.URL{u}
	e, err := startEtcd(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	<-e.Server.ReadyNotify()
	return u.String()
}

// TestEndpoints opens two stores on one etcd: each sees at once what the other
// has written, and conflicts with it.
func TestEndpoints(t *testing.T) {
	endpoint := serveEtcd(t)
	a := open(t, Options{Endpoints: []string{endpoint}})
	b := open(t, Options{Endpoints: []string{endpoint}})
	changes := b.Watch(t.Context(), "things")
	put(t, a, thing{"x", 1})
	if v, err := get(t, b, "x"); err != nil || v.N != 1 {
		t.Errorf("got %v, %v", v, err)
	}
	if c := next(t, changes); c != (Change{Collection: "things", Key: "x"}) {
		t.Errorf("got %+v", c)
	}
	runs := 0
	err := a.Update(t.Context(), func(tx *Tx) error {
		runs++
		v, err := things.Get(tx, "x")
		if err == nil && runs == 1 {
			put(t, b, thing{"x", 10})
		}
		v.N++
		return errors.Join(err, things.Put(tx, &v))
	})
	if v, errGet := get(t, b, "x"); err != nil || errGet != nil || runs != 2 || v.N != 11 {
		t.Errorf("%d runs, %v, %v, %v", runs, v, err, errGet)
	}
}

func TestEndpointsUnreachable(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := Open(ctx, Options{Endpoints: []string{"unix://" + t.TempDir() + "/none"}})
	if err == nil {
		t.Fatal("connected to nothing")
	}
	if _, err := Open(t.Context(), Options{}); err == nil {
		t.Error("opened neither a directory nor endpoints")
	}
}

func TestFatalErrorsOfEtcd(t *testing.T) {
	var got error
	lg := newZapLogger(slog.New(slog.DiscardHandler), func(err error) { got = err })
	cause := errors.New("cause")
	for name, log := range map[string]func(string, ...zap.Field){"fatal": lg.Fatal, "panic": lg.Panic} {
		got = nil
		ended := make(chan bool)
		go func() {
			returned := false
			defer func() { ended <- returned }()
			log("cannot go on", zap.Error(cause))
			returned = true
		}()
		if returned := <-ended; returned || !errors.Is(got, ErrFailed) || !errors.Is(got, cause) {
			t.Errorf("%s: returned %v, got %v", name, returned, got)
		}
	}
}
