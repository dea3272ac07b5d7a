package daemon_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/client"
	"github.com/bundt/bundt/pkg/daemon"
	"github.com/bundt/bundt/pkg/rundir"
)

// start runs a daemon until the test ends, and returns a client of its socket.
func start(t *testing.T, cfg daemon.Config) (*client.Client, error) {
	t.Helper()
	d, err := daemon.New(t.Context(), cfg, slog.New(slog.DiscardHandler), daemon.Parts{})
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	ended, ready := make(chan error, 1), make(chan struct{})
	go func() { ended <- d.Run(ctx, func() { close(ready) }) }()
	select {
	case err := <-ended:
		stop()
		return nil, err
	case <-ready:
	}
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("daemon: %v", err)
		}
	})
	return client.New(client.Options{Endpoint: "unix://" + filepath.Join(cfg.RunDir, rundir.Socket)})
}

// endpointOf starts a daemon and returns what it says of its endpoint.
func endpointOf(t *testing.T, cfg daemon.Config) *bundttypes.DescribeEndpointOutput {
	t.Helper()
	c, err := start(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	e, err := c.DescribeEndpoint(t.Context(), &bundttypes.DescribeEndpointInput{})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// callEC2 sends a signed request with the admin's key.
func callEC2(t *testing.T, h *http.Client, e *bundttypes.DescribeEndpointOutput, form string) (int, string) {
	t.Helper()
	text, err := os.ReadFile(e.CredentialsFile)
	if err != nil {
		t.Fatal(err)
	}
	key := map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, "=")
		key[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
	return callAs(t, h, e, aws.Credentials{AccessKeyID: key["aws_access_key_id"], SecretAccessKey: key["aws_secret_access_key"]}, "ec2", form)
}

// callAs sends a request to a service, signed with these credentials.
func callAs(t *testing.T, h *http.Client, e *bundttypes.DescribeEndpointOutput, c aws.Credentials, service, form string) (int, string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, e.Url, strings.NewReader(form))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	sum := sha256.Sum256([]byte(form))
	err = v4.NewSigner().SignHTTP(t.Context(), c, r, hex.EncodeToString(sum[:]), service, e.Region, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	response, err := h.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

const describe = "Action=DescribeInstances&Version=2016-11-15"

func TestEndpoint(t *testing.T) {
	cfg := config(t)
	e := endpointOf(t, cfg)
	if !strings.HasPrefix(e.Url, "http://127.0.0.1:") || e.Region != cfg.Region || e.CertificateFile != "" {
		t.Errorf("the endpoint is %+v", e)
	}
	info, err := os.Stat(e.CredentialsFile)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the credentials: %v, %v; want mode 0600", info.Mode(), err)
	}
	if status, body := callEC2(t, http.DefaultClient, e, describe); status != 200 || !strings.Contains(body, "<reservationSet/>") {
		t.Errorf("got %d %s", status, body)
	}
	if status, body := callEC2(t, http.DefaultClient, e, "Action=DescribeHost&Version=2016-11-15"); status != 400 || !strings.Contains(body, "InvalidAction") {
		t.Errorf("an action that EC2 does not have: got %d %s", status, body)
	}
}

func TestNoEndpoint(t *testing.T) {
	cfg := config(t)
	cfg.Listen = ""
	if e := endpointOf(t, cfg); e.Url != "" || e.CredentialsFile != "" {
		t.Errorf("the endpoint is %+v", e)
	}
}

// TestTakenAddress: the default address gives way, one that was asked for does not.
func TestTakenAddress(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	cfg := config(t)
	cfg.Listen, cfg.ListenAny = taken.Addr().String(), false
	if _, err := start(t, cfg); err == nil || !strings.Contains(err.Error(), "give --listen another address") {
		t.Errorf("got %v, want an error that says what to do", err)
	}
	cfg = config(t)
	cfg.Listen = taken.Addr().String()
	e := endpointOf(t, cfg)
	if e.Url == "http://"+cfg.Listen {
		t.Fatalf("the endpoint is at %s, which another program has", e.Url)
	}
	if status, body := callEC2(t, http.DefaultClient, e, describe); status != 200 {
		t.Errorf("got %d %s", status, body)
	}
}

// TestTLS serves a certificate that clients are told to trust.
func TestTLS(t *testing.T) {
	cfg := config(t)
	cfg.TLSCert, cfg.TLSKey = certificate(t)
	cfg.Listen = "0.0.0.0:0"
	e := endpointOf(t, cfg)
	if !strings.HasPrefix(e.Url, "https://127.0.0.1:") || e.CertificateFile != cfg.TLSCert {
		t.Fatalf("the endpoint is %+v", e)
	}
	trusted, err := os.ReadFile(e.CertificateFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(trusted)
	h := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	defer h.CloseIdleConnections()
	if status, body := callEC2(t, h, e, describe); status != 200 {
		t.Errorf("got %d %s", status, body)
	}
}

// certificate makes a self-signed one for 127.0.0.1.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bundt"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "EC PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func TestListenRefusals(t *testing.T) {
	for name, change := range map[string]func(*daemon.Config){
		"--tls-cert and --tls-key": func(c *daemon.Config) { c.Listen = "0.0.0.0:0" },
		"--insecure-listen":        func(c *daemon.Config) { c.Listen = ":0" },
		"others could read":        func(c *daemon.Config) { c.Listen = "example.com:1" },
		"HOST:PORT":                func(c *daemon.Config) { c.Listen = "127.0.0.1" },
		"go together":              func(c *daemon.Config) { c.TLSCert = "cert.pem" },
		"reading --tls-cert":       func(c *daemon.Config) { c.TLSCert, c.TLSKey = "/nonexistent", "/nonexistent" },
	} {
		cfg := config(t)
		change(&cfg)
		if _, err := start(t, cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want an error that mentions %q", err, name)
		}
	}
}

// TestSlowClients: who sends too much, or nothing, does not keep others out.
func TestSlowClients(t *testing.T) {
	e := endpointOf(t, config(t))
	address := strings.TrimPrefix(e.Url, "http://")
	for range 20 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("POST / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 12)
	if _, err := io.ReadFull(c, answer); err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 431")) {
		t.Errorf("a header of 64 KiB: got %q, %v", answer, err)
	}
	if status, _ := callEC2(t, http.DefaultClient, e, describe); status != 200 {
		t.Errorf("got %d", status)
	}
}
