package store

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

const (
	quotaBytes      = 4 << 30
	maxRequestBytes = 16 << 20
	maxTxnOps       = 16384
	startTimeout    = 60 * time.Second
	stopTimeout     = 10 * time.Second
	dialTimeout     = 5 * time.Second
)

// member is the embedded single-member etcd. It listens nowhere: this process
// calls it directly, which saves a round trip through a socket and leaves no
// socket to protect. A listener for peers is added when a cluster grows.
type member struct {
	etcd *embed.Etcd
	lock *os.File
	ctx  context.Context // ends when the member has failed
}

// startMember locks dir and starts etcd in it. When etcd later meets an error
// that it would end the process for, it calls failed instead.
func startMember(ctx context.Context, dir string, log *slog.Logger, failed context.CancelCauseFunc) (*member, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("creating data directory: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	memberCtx, memberFailed := context.WithCancelCause(context.Background())
	zl := newZapLogger(log, func(err error) {
		memberFailed(err)
		failed(err)
	})
	e, err := startEtcd(memberCtx, memberConfig(dir, zl))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting embedded etcd: %w", err), lock.Close())
	}
	m := &member{etcd: e, lock: lock, ctx: memberCtx}
	if err := m.waitReady(ctx); err != nil {
		return nil, errors.Join(err, m.stop())
	}
	return m, nil
}

// startEtcd runs embed.StartEtcd in a goroutine of its own, because a fatal
// error ends the goroutine that meets it (see newZapLogger).
func startEtcd(memberCtx context.Context, cfg *embed.Config) (*embed.Etcd, error) {
	type result struct {
		etcd *embed.Etcd
		err  error
	}
	started := make(chan result, 1)
	go func() {
		e, err := embed.StartEtcd(cfg)
		started <- result{e, err}
	}()
	select {
	case r := <-started:
		return r.etcd, r.err
	case <-memberCtx.Done():
		return nil, context.Cause(memberCtx)
	}
}

func (m *member) waitReady(ctx context.Context) error {
	timeout := time.NewTimer(startTimeout)
	defer timeout.Stop()
	select {
	case <-m.etcd.Server.ReadyNotify():
		return nil
	case err := <-m.etcd.Err():
		return fmt.Errorf("starting embedded etcd: %w", err)
	case <-m.ctx.Done():
		return context.Cause(m.ctx)
	case <-ctx.Done():
		return fmt.Errorf("waiting for embedded etcd: %w", context.Cause(ctx))
	case <-timeout.C:
		return fmt.Errorf("embedded etcd was not ready within %v", startTimeout)
	}
}

func (m *member) client() *clientv3.Client { return v3client.New(m.etcd.Server) }

// stop ends etcd and releases the lock. A member that has failed may hold locks
// for ever, so that waiting for its end is bounded.
func (m *member) stop() error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.etcd.Close()
	}()
	timeout := time.NewTimer(stopTimeout)
	defer timeout.Stop()
	select {
	case <-done:
	case <-m.ctx.Done():
		// The lock stays with the process: etcd's files may still be open.
		return context.Cause(m.ctx)
	case <-timeout.C:
		return fmt.Errorf("embedded etcd did not stop within %v", stopTimeout)
	}
	return m.lock.Close()
}

func memberConfig(dir string, zl *zap.Logger) *embed.Config {
	cfg := embed.NewConfig()
	cfg.Name = "bundt"
	cfg.Dir = dir
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zl)

	// Members are known by the URL of their peers' endpoint, which a single
	// member has none of: this one is a name only.
	peer := url.URL{Scheme: "unix", Host: "bundt"}
	cfg.ListenPeerUrls, cfg.ListenClientUrls = nil, nil
	cfg.AdvertisePeerUrls, cfg.AdvertiseClientUrls = []url.URL{peer}, []url.URL{peer}
	cfg.InitialCluster = cfg.Name + "=" + peer.String()

	// A single member has nobody to wait for, and elects itself at once.
	cfg.TickMs, cfg.ElectionMs = 10, 100

	cfg.QuotaBackendBytes = quotaBytes
	cfg.MaxRequestBytes = maxRequestBytes
	cfg.MaxTxnOps = maxTxnOps
	// Entries that lagging members would need cost memory and serve nobody.
	cfg.SnapshotCount, cfg.SnapshotCatchUpEntries = 5000, 500
	cfg.WarningApplyDuration = time.Second
	cfg.WarningUnaryRequestDuration = time.Second
	return cfg
}

// lockDir takes the lock of a data directory. The kernel releases it however
// the process ends.
func lockDir(dir string) (*os.File, error) {
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		owner := make([]byte, 32)
		n, _ := f.ReadAt(owner, 0)
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w by %s: stop the other bundtd, or give this one another --data-dir",
				ErrLocked, describeOwner(string(owner[:n])))
		}
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	// Who holds the lock is a courtesy for the message above.
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	}
	return f, nil
}

func describeOwner(pid string) string {
	if pid = strings.TrimSpace(pid); pid == "" {
		return "another process"
	}
	return "process " + pid
}

func dial(ctx context.Context, endpoints []string) (*clientv3.Client, error) {
	cfg := clientv3.Config{
		Endpoints:            endpoints,
		DialTimeout:          dialTimeout,
		DialKeepAliveTime:    10 * time.Second,
		DialKeepAliveTimeout: 5 * time.Second,
		MaxCallSendMsgSize:   maxRequestBytes,
		Logger:               zap.NewNop(),
	}
	for _, ep := range endpoints {
		if strings.HasPrefix(ep, "https://") || strings.HasPrefix(ep, "unixs://") {
			cfg.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
		}
	}
	client, err := clientv3.New(cfg)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if _, err := client.Get(ctx, formatKey, clientv3.WithCountOnly()); err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return client, nil
}
