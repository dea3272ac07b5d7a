package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"golang.org/x/net/netutil"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/actions"
	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/distribution"
	"github.com/bundt/bundt/pkg/api/ec2query"
	"github.com/bundt/bundt/pkg/api/endpoint"
	"github.com/bundt/bundt/pkg/api/json11"
	"github.com/bundt/bundt/pkg/auth"
	"github.com/bundt/bundt/pkg/auth/sigv4"
	"github.com/bundt/bundt/pkg/model"
)

// DefaultListen is the address of the endpoint for AWS's clients.
const DefaultListen = "127.0.0.1:8773"

// maxConnections bounds what clients of the network can hold open. Each can make
// the daemon keep endpoint.MaxBody.
const maxConnections = 512

// buildEndpoint makes what the network address serves.
func (d *Daemon) buildEndpoint() error {
	services := []endpoint.Service{
		{Name: "ec2", Codec: ec2query.EC2()},
		{Name: "sts", Codec: ec2query.STS(), Global: true},
		{Name: "iam", Codec: ec2query.IAM(), Global: true},
		{Name: "ssm", Codec: json11.SSM()},
		{Name: "monitoring", Codec: ec2query.Monitoring(), JSON: json11.Monitoring()},
	}
	for i, register := range []func(*api.Table){
		d.registerCloud, d.identity().RegisterSTS, d.identity().RegisterIAM,
		func(t *api.Table) { actions.RegisterSSM(t, d.cloud) }, d.registerMonitoring,
	} {
		var err error
		if services[i].Dispatcher, err = d.dispatcher(register); err != nil {
			return err
		}
	}
	var err error
	d.endpoint, err = endpoint.Handler(endpoint.Options{
		Region: d.cfg.Region, Keys: sigv4.KeysFunc[api.Principal](d.lookupKey), Services: services,
	})
	d.distribution = distribution.Handler(distribution.Options{
		Region: d.cfg.Region, Keys: sigv4.KeysFunc[api.Principal](d.lookupKey), Dispatcher: services[0].Dispatcher, Content: d.content,
	})
	return err
}

// content is what other regions get of an image or a snapshot that the account may copy.
func (d *Daemon) content(ctx context.Context, account, id string) (distribution.Content, error) {
	img, tops, err := d.cloud.Account(account).ToSend(ctx, id)
	if err != nil {
		return nil, err
	}
	return d.node.Outgoing(ctx, &img, tops)
}

// lookupKey finds an access key among the accounts'.
func (d *Daemon) lookupKey(ctx context.Context, r *sigv4.Request) ([]byte, api.Principal, error) {
	key, err := d.accounts.Key(ctx, r.AccessKeyID, r.SessionToken)
	switch model.CodeOf(err) {
	case auth.CodeInvalidClientTokenID:
		return nil, api.Principal{}, sigv4.ErrUnknownKey
	case auth.CodeExpiredToken:
		return nil, api.Principal{}, sigv4.ErrExpiredToken
	}
	if err != nil {
		return nil, api.Principal{}, err
	}
	id := key.Identity
	return []byte(key.Secret), api.Principal{AccountID: id.AccountID, Name: id.AccessKeyID, Identity: id}, nil
}

// checkListen refuses to show the endpoint to others without protection.
func (c *Config) checkListen() error {
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return errors.New("--tls-cert and --tls-key go together")
	}
	if c.Listen == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("--listen %q: must be HOST:PORT, or empty: %w", c.Listen, err)
	}
	ip := net.ParseIP(host)
	if host != "localhost" && (ip == nil || !ip.IsLoopback()) && c.TLSCert == "" && !c.InsecureListen {
		return fmt.Errorf("--listen %s: others could read what clients send; give --tls-cert and --tls-key, or --insecure-listen if the network is trusted", c.Listen)
	}
	return nil
}

// listenEndpoint opens the network address; nil if there is to be none.
func (d *Daemon) listenEndpoint() (net.Listener, error) {
	if d.cfg.Listen == "" {
		return nil, nil
	}
	l, err := net.Listen("tcp", d.cfg.Listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		l, err = d.listenElsewhere(err)
	}
	if err != nil {
		return nil, fmt.Errorf("listening for AWS's clients: %w", err)
	}
	scheme := "http"
	l = netutil.LimitListener(l, maxConnections)
	if d.cfg.TLSCert != "" {
		scheme = "https"
		cert, err := tls.LoadX509KeyPair(d.cfg.TLSCert, d.cfg.TLSKey)
		if err != nil {
			l.Close()
			return nil, fmt.Errorf("reading --tls-cert and --tls-key: %w", err)
		}
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}})
	}
	url := scheme + "://" + d.clientAddress(l.Addr().(*net.TCPAddr))
	d.url.Store(&url)
	return l, nil
}

// listenElsewhere takes any free port when the default one is another daemon's:
// several run side by side, and clients ask for the address anyway (bundt env).
func (d *Daemon) listenElsewhere(taken error) (net.Listener, error) {
	if !d.cfg.ListenAny {
		return nil, fmt.Errorf("%w: another program has it; give --listen another address, or '' for no endpoint", taken)
	}
	host, _, err := net.SplitHostPort(d.cfg.Listen)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err == nil {
		d.log.Warn("another program has the default address: listening elsewhere", "default", d.cfg.Listen, "address", l.Addr().String(),
			"hint", "bundt env tells clients the address; --listen fixes it")
	}
	return l, err
}

// clientAddress is where clients on this host reach a listener's address.
func (d *Daemon) clientAddress(a *net.TCPAddr) string {
	host, _, _ := net.SplitHostPort(d.cfg.Listen)
	if a.IP.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, fmt.Sprint(a.Port))
}

// Endpoint is the URL for AWS's clients, "" if there is none or before Run is ready.
func (d *Daemon) Endpoint() string {
	if url := d.url.Load(); url != nil {
		return *url
	}
	return ""
}

// idleTime is how long clients may keep a connection that they do not use. They
// must be the first to close it, or they send a request into one that is just being
// closed, and do not send it again if it is the first on that connection. AWS's SDKs
// and Go's HTTP client keep theirs for 90 seconds, and have some that they opened
// and found no use for: for those it is ReadHeaderTimeout that counts.
const idleTime = 2 * time.Minute

// endpointServer serves the network. The endpoint itself says how long bodies and
// answers may take.
func (d *Daemon) endpointServer(ctx context.Context) *http.Server {
	return &http.Server{
		Handler:           d.withConsole(d.endpoint),
		ReadHeaderTimeout: idleTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    32 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
}

// Endpoint tells the command line how to point AWS's clients here.
func (v *view) Endpoint() bundttypes.DescribeEndpointOutput {
	d := v.daemon
	out := bundttypes.DescribeEndpointOutput{Region: d.cfg.Region, Url: d.Endpoint()}
	if out.Url == "" {
		return out
	}
	out.CredentialsFile = d.credentialsFile()
	if d.cfg.TLSCert != "" && selfSigned(d.cfg.TLSCert, d.cfg.TLSKey) {
		out.CertificateFile = d.cfg.TLSCert
	}
	return out
}

// selfSigned reports whether clients must be told to trust the certificate.
func selfSigned(cert, key string) bool {
	pair, err := tls.LoadX509KeyPair(cert, key)
	return err == nil && pair.Leaf != nil && pair.Leaf.Issuer.String() == pair.Leaf.Subject.String()
}

func (d *Daemon) credentialsFile() string { return d.path("credentials") }

func closeListener(l net.Listener) error {
	if l == nil {
		return nil
	}
	if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}
