package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"golang.org/x/sync/errgroup"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/auth/sigv4"
	"github.com/bundt/bundt/pkg/client"
)

const (
	apiVersion = "2016-11-15"
	// Each round sends so many requests over so many connections.
	describeConns    = 4
	describeRequests = 1200
	pageRequests     = 120
	// motoRegion is one that moto knows.
	motoRegion = "us-east-1"
)

// describe is P7: descriptions over the network endpoint, by id against a server
// that only verifies the signature, and of pages against moto.
func (c *crowd) describe(ctx context.Context) error {
	e, err := c.daemon.API.DescribeEndpoint(ctx, &bundttypes.DescribeEndpointInput{})
	if err != nil {
		return err
	}
	key, err := client.ReadAccessKey(e.CredentialsFile)
	if err != nil {
		return err
	}
	who := aws.Credentials{AccessKeyID: key.ID, SecretAccessKey: key.Secret}
	floor, stop, err := emptyServer(e.Region, who)
	if err != nil {
		return err
	}
	defer stop()
	byID := url.Values{"Action": {"DescribeInstances"}, "Version": {apiVersion}, "InstanceId.1": {c.some[0]}}
	page := url.Values{"Action": {"DescribeInstances"}, "Version": {apiVersion}, "MaxResults": {"100"}}
	var ours, empty, pages []float64
	for range c.rounds {
		for _, m := range []struct {
			at   string
			form url.Values
			n    int
			into *[]float64
		}{{e.Url, byID, describeRequests, &ours}, {floor, byID, describeRequests, &empty}, {e.Url, page, pageRequests, &pages}} {
			t, err := rate(ctx, m.at, e.Region, who, m.form, m.n)
			if err != nil {
				return err
			}
			*m.into = append(*m.into, t)
		}
	}
	c.add("P7", fmt.Sprintf("DescribeInstances by id among %d / empty handler with SigV4", crowdSize), 2, ours, empty)
	return c.besideMoto(ctx, who, page, pages)
}

// besideMoto compares pages with moto's, where it is installed.
func (c *crowd) besideMoto(ctx context.Context, who aws.Credentials, page url.Values, pages []float64) error {
	server, err := exec.LookPath("moto_server")
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: no moto_server here, so that P7's page of 100 has no floor; it takes", median(pages)*1e3, "ms")
		return nil
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	if err := l.Close(); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, server, "-H", "127.0.0.1", "-p", port)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting moto: %w", err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	at := "http://127.0.0.1:" + port
	launch := url.Values{"Action": {"RunInstances"}, "Version": {apiVersion}, "ImageId": {"ami-12c6146b"}, "MinCount": {"100"}, "MaxCount": {"100"}}
	for try := 0; ; try++ {
		if _, err = rate(ctx, at, motoRegion, who, launch, 1); err == nil {
			break
		}
		if try > 100 {
			return fmt.Errorf("launching in moto: %w", err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	var moto []float64
	for range c.rounds {
		t, err := rate(ctx, at, motoRegion, who, page, 8)
		if err != nil {
			return err
		}
		moto = append(moto, t)
	}
	c.add("P7", "DescribeInstances, page of 100 / moto", 1.0/125, pages, moto)
	return nil
}

// rate returns the seconds per request when n requests of one form are sent over
// a few connections. The request is signed once: the client is not what is measured.
func rate(ctx context.Context, at, region string, who aws.Credentials, form url.Values, n int) (float64, error) {
	body := []byte(form.Encode())
	digest := sha256.Sum256(body)
	signed, err := http.NewRequestWithContext(ctx, http.MethodPost, at+"/", nil)
	if err != nil {
		return 0, err
	}
	signed.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	if err := v4.NewSigner().SignHTTP(ctx, who, signed, hex.EncodeToString(digest[:]), "ec2", region, time.Now()); err != nil {
		return 0, err
	}
	transport := &http.Transport{MaxIdleConnsPerHost: describeConns}
	defer transport.CloseIdleConnections()
	var g errgroup.Group
	start := time.Now()
	for conn := range describeConns {
		g.Go(func() error {
			for k := conn; k < n; k += describeConns {
				r := signed.Clone(ctx)
				r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
				resp, err := transport.RoundTrip(r)
				if err != nil {
					return err
				}
				answer, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil {
					return err
				}
				if resp.StatusCode != http.StatusOK {
					return fmt.Errorf("%s answers %s: %s", at, resp.Status, answer)
				}
			}
			return nil
		})
	}
	err = g.Wait()
	return time.Since(start).Seconds() / float64(n), err
}

// emptyServer verifies signatures and answers nothing: what an answer costs at least.
func emptyServer(region string, who aws.Credentials) (at string, stop func(), err error) {
	verifier := sigv4.Verifier[struct{}]{
		Keys: sigv4.KeysFunc[struct{}](func(context.Context, *sigv4.Request) ([]byte, struct{}, error) {
			return []byte(who.SecretAccessKey), struct{}{}, nil
		}),
		Scope: func(r, _ string) bool { return r == region },
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			var signed *sigv4.Request
			if signed, err = sigv4.Parse(r); err == nil {
				_, err = verifier.Verify(r.Context(), signed, body)
			}
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
		}
	})}
	go func() { _ = server.Serve(l) }() // ends with stop
	return "http://" + l.Addr().String(), func() { server.Close() }, nil
}
