package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

const imds = "http://169.254.169.254/latest/"

var errNoMetadata = errors.New("not in the metadata")

// metadata is a client of the instance metadata service: version 2, and version
// 1 where the service gives no tokens.
type metadata struct {
	client http.Client
	token  string
}

func newMetadata() *metadata {
	return &metadata{client: http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{DisableKeepAlives: false, MaxIdleConns: 1},
	}}
}

// reach waits until the service answers, up to patience.
func (m *metadata) reach(patience time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		body, status, err := m.do(ctx, http.MethodPut, "api/token")
		switch {
		case err == nil && status == http.StatusOK:
			m.token = string(body)
			return nil
		case err == nil && status >= 400 && status < 500:
			return nil // version 1 only
		case ctx.Err() != nil:
			return fmt.Errorf("no answer within %s: %w", patience, err)
		}
		time.Sleep(wait)
	}
}

func (m *metadata) get(path string) ([]byte, error) {
	body, status, err := m.do(context.Background(), http.MethodGet, path)
	switch {
	case err != nil:
		return nil, err
	case status == http.StatusNotFound:
		return nil, errNoMetadata
	case status != http.StatusOK:
		return nil, fmt.Errorf("%s: HTTP status %d", path, status)
	}
	return body, nil
}

func (m *metadata) do(ctx context.Context, method, path string) ([]byte, int, error) {
	req, err := http.NewRequestWithContext(ctx, method, imds+path, nil)
	if err != nil {
		return nil, 0, err
	}
	if method == http.MethodPut {
		req.Header.Set("X-aws-ec2-metadata-token-ttl-seconds", "21600")
	} else if m.token != "" {
		req.Header.Set("X-aws-ec2-metadata-token", m.token)
	}
	resp, err := m.client.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return body, resp.StatusCode, err
}

// identity asks who this machine is. Without metadata the network card says it:
// two machines never share one.
func (m *metadata) identity(dev string) identity {
	mac, _ := os.ReadFile("/sys/class/net/" + dev + "/address")
	id := identity{InstanceID: "mac-" + trim(mac)}
	if err := m.reach(20 * time.Second); err != nil {
		logf("metadata: %v", err)
		return id
	}
	for path, to := range map[string]*string{
		"meta-data/instance-id":               &id.InstanceID,
		"meta-data/local-hostname":            &id.Hostname,
		"meta-data/public-keys/0/openssh-key": &id.PublicKey,
		"user-data":                           &id.UserData,
	} {
		body, err := m.get(path)
		if errors.Is(err, errNoMetadata) {
			continue
		}
		if err != nil {
			logf("metadata: %v", err)
			continue
		}
		*to = string(body)
	}
	logf("instance %s", id.InstanceID)
	return id
}
