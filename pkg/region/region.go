// Package region owns the conversation with the other regions that the owner of this
// cloud has named: where they are, as whom an account is known there, calls of EC2's
// API there, and the repositories that their images are got from. It never decides
// what is copied. Of our packages it imports pkg/model, pkg/catalog/artifact and
// pkg/catalog/registry only.
package region

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"go.yaml.in/yaml/v3"

	"github.com/bundt/bundt/pkg/catalog/artifact"
	"github.com/bundt/bundt/pkg/catalog/registry"
	"github.com/bundt/bundt/pkg/model"
)

const (
	apiVersion = "2016-11-15"
	service    = "ec2"
	userAgent  = "bundt"

	dialTime = 15 * time.Second
	callTime = 30 * time.Second // for one call of the API
	// answerTime is for the first byte of anything else: the other region may have to read
	// a large disk before it can name its content.
	answerTime = 15 * time.Minute
	maxAnswer  = 8 << 20 // bytes of an answer of the API
)

// setting is a region in the owner's file.
type setting struct {
	Endpoint    string `yaml:"endpoint"`
	CA          string `yaml:"ca"`
	Credentials string `yaml:"credentials"`
}

// peer is another region.
type peer struct {
	name        string
	endpoint    *url.URL
	credentials string // file
	client      *http.Client
}

// Directory knows the other regions. It is safe for concurrent use.
type Directory struct {
	own   string
	file  string
	admin string
	peers map[string]*peer
}

// Load reads the owner's file of regions: their names, and of each the URL of its
// endpoint, the certificates to trust there (PEM) and the file of access keys. A
// region of the name own is this one and left out, so that all may share a file. "" is
// no file, and no other region.
func Load(file, own string) (*Directory, error) {
	d := &Directory{own: own, file: file, peers: map[string]*peer{}}
	if file == "" {
		return d, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the other regions: %w", err)
	}
	var settings map[string]setting
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&settings); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading the other regions in %s: %w", file, err)
	}
	delete(settings, own)
	for name, s := range settings {
		if d.peers[name], err = newPeer(name, s, filepath.Dir(file)); err != nil {
			return nil, fmt.Errorf("reading the region %s in %s: %w", name, file, err)
		}
	}
	return d, nil
}

func newPeer(name string, s setting, dir string) (*peer, error) {
	if !model.ValidRegion(name) {
		return nil, errors.New("its name must have 2 to 32 lower-case letters, digits and hyphens")
	}
	u, err := url.Parse(s.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "" {
		return nil, fmt.Errorf("endpoint %q: it must be a URL such as https://192.0.2.20:8773", s.Endpoint)
	}
	if ip := net.ParseIP(u.Hostname()); u.Scheme == "http" && u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("endpoint %s: others could read what is copied; use https", s.Endpoint)
	}
	if s.Credentials == "" {
		return nil, errors.New("credentials: a file of access keys is needed")
	}
	transport := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: dialTime}).DialContext,
		TLSHandshakeTimeout: dialTime, ResponseHeaderTimeout: answerTime, DisableCompression: true, IdleConnTimeout: time.Minute,
	}
	if s.CA != "" {
		pem, err := os.ReadFile(beside(dir, s.CA))
		if err != nil {
			return nil, fmt.Errorf("reading its certificates: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca %s: there is no certificate in it", s.CA)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	refuse := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &peer{name, &url.URL{Scheme: u.Scheme, Host: u.Host}, beside(dir, s.Credentials), &http.Client{Transport: transport, CheckRedirect: refuse}}, nil
}

// beside is a path that a file in dir names.
func beside(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// adminSections are the admin account's, too: the first is what bundtd calls it in the
// file that it makes.
var adminSections = [...]string{"bundt", "default"}

// SetAdmin says whose access keys adminSections are.
func (d *Directory) SetAdmin(account string) { d.admin = account }

// Peers are the other regions, by name.
func (d *Directory) Peers() (out []model.Region) {
	for _, name := range slices.Sorted(maps.Keys(d.peers)) {
		out = append(out, model.Region{Name: name, Endpoint: d.peers[name].endpoint.Host})
	}
	return out
}

func (d *Directory) peer(name string) (*peer, error) {
	if p := d.peers[name]; p != nil {
		return p, nil
	}
	e := model.Errorf(model.CodeInvalidParameterValue, "Value (%s) for parameter sourceRegion is invalid. The region does not exist.", name)
	if len(d.peers) == 0 {
		return nil, e.WithHint("this cloud is the region %s, and its owner has named no others (bundtd --regions)", d.own)
	}
	return nil, e.WithHint("this cloud is the region %s, and knows %v", d.own, slices.Sorted(maps.Keys(d.peers)))
}

// Known is an error unless a region is one of the others, in which the account has
// access keys.
func (d *Directory) Known(name, account string) error {
	p, err := d.peer(name)
	if err == nil {
		_, err = d.keys(p, account)
	}
	return err
}

// keys are the account's in a region. They are read anew each time: keys change more
// often than regions.
func (d *Directory) keys(p *peer, account string) (aws.Credentials, error) {
	all, err := readCredentials(p.credentials)
	if err != nil {
		return aws.Credentials{}, err
	}
	c, ok := all[account]
	for _, section := range adminSections {
		if !ok && account == d.admin {
			c, ok = all[section]
		}
	}
	if !ok {
		return c, model.Errorf(model.CodeAuthFailure, "The account %s has no access key in the region %s", account, p.name).
			WithHint("this cloud's owner adds one as the section [%s] of %s", account, p.credentials)
	}
	return c, nil
}

// Call calls an action of EC2's API in another region, as the account is known there.
// Errors of the other region are those of the call.
func (d *Directory) Call(ctx context.Context, region, account, action string, params url.Values, out any) error {
	p, err := d.peer(region)
	if err != nil {
		return err
	}
	form := maps.Clone(params)
	form.Set("Action", action)
	form.Set("Version", apiVersion)
	body := []byte(form.Encode())
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.endpoint.String()+"/", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("calling %s in the region %s: %w", action, region, err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	response, err := (&signer{directory: d, peer: p, account: account, body: body}).RoundTrip(r)
	if err != nil {
		return unreachable(p, err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return unreachable(p, err)
	}
	if response.StatusCode != http.StatusOK {
		return failure(p, response.StatusCode, answer)
	}
	if err := xml.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("reading what the region %s answered to %s: %w", region, action, err)
	}
	return nil
}

// unreachable is the error of a region that does not answer.
func unreachable(p *peer, err error) error {
	var public *model.Error
	if errors.As(err, &public) || errors.Is(err, context.Canceled) {
		return err
	}
	return model.Errorf(model.CodeServiceUnavailable, "The region %s does not answer: %v", p.name, err).
		WithHint("is its daemon running, and is %s right (bundtd --regions)?", p.endpoint)
}

// failure is the error that a region answered with.
func failure(p *peer, status int, answer []byte) error {
	var said struct {
		Code    string `xml:"Errors>Error>Code"`
		Message string `xml:"Errors>Error>Message"`
	}
	if xml.Unmarshal(answer, &said) != nil || said.Code == "" {
		return model.Errorf(model.CodeServiceUnavailable, "The region %s answered with the status %d and nothing that EC2's API says", p.name, status).
			WithHint("is %s really its endpoint (bundtd --regions)?", p.endpoint)
	}
	return model.Errorf(said.Code, "The region %s answered: %s", p.name, said.Message)
}

// Repository is where the content of an image or a snapshot of another region is got
// from. What is copied is asked for by its id.
func (d *Directory) Repository(region, account, id string) (*registry.Repository, error) {
	p, err := d.peer(region)
	if err != nil {
		return nil, err
	}
	ref := artifact.Reference{Registry: p.endpoint.Host, Repository: id, Tag: "latest"}
	client := &http.Client{Transport: &signer{directory: d, peer: p, account: account}, CheckRedirect: p.client.CheckRedirect}
	return registry.Open(ref, registry.Options{Client: client, PlainHTTP: p.endpoint.Scheme == "http", UserAgent: userAgent})
}

// signer signs requests with an account's key.
type signer struct {
	directory *Directory
	peer      *peer
	account   string
	body      []byte // of the request, which has no other
}

// RoundTrip implements http.RoundTripper.
func (s *signer) RoundTrip(r *http.Request) (*http.Response, error) {
	keys, err := s.directory.keys(s.peer, s.account)
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	sum := sha256.Sum256(s.body)
	if err := v4.NewSigner().SignHTTP(r.Context(), keys, r, hex.EncodeToString(sum[:]), service, s.peer.name, time.Now()); err != nil {
		return nil, fmt.Errorf("signing a request to the region %s: %w", s.peer.name, err)
	}
	return s.peer.client.Transport.RoundTrip(r)
}
