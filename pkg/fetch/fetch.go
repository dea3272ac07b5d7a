// Package fetch owns downloads of what users name by URL. The host makes the
// connections, but users choose where they go: not to the host's own services, and
// not to what only the host may ask, like the metadata service of a cloud that it
// is in; but wherever the owner's mirrors are. Of our packages it imports
// pkg/hostonly and pkg/checksum only.
package fetch

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"

	"github.com/bundt/bundt/pkg/checksum"
	"github.com/bundt/bundt/pkg/hostonly"
)

// Errors of downloads (test with errors.Is).
var (
	// ErrRefused: the URL leads where users may not make this host connect to.
	ErrRefused = errors.New("the address is not for users' downloads")
	// ErrTooLarge: there is more than was to be taken.
	ErrTooLarge = errors.New("the file is too large")
	// ErrDigest: the content is not the one that was meant.
	ErrDigest = errors.New("the content has another digest")
	// ErrNotFound: the server has nothing there.
	ErrNotFound = errors.New("the server does not have it")
)

const (
	dialTime     = 15 * time.Second
	stallTime    = 60 * time.Second // without a byte
	maxRedirects = 5
	reportBytes  = 16 << 20 // between two calls of Progress, or
	reportTime   = time.Second
)

// Options of a Fetcher.
type Options struct {
	// Host lets URLs lead to the host's own addresses, loopback included.
	Host bool
	// Mirrors are asked instead of the servers that URLs name. They are their owner's
	// choice, so they may be anywhere, and behind the host's proxy.
	Mirrors Mirrors
}

// Fetcher makes downloads.
type Fetcher struct {
	client  *http.Client
	plain   *http.Client // follows redirects from https to http, too
	mirror  *http.Client
	mirrors Mirrors
	pause   time.Duration // before the second try
}

// New returns a Fetcher. Except for mirrors it uses no proxy: what a proxy connects to
// cannot be judged from here.
func New(o Options) *Fetcher {
	f := &Fetcher{client: newClient(o.Host, nil, false), mirror: newClient(true, http.ProxyFromEnvironment, true), mirrors: o.Mirrors, pause: 200 * time.Millisecond}
	f.plain = &http.Client{Transport: f.client.Transport, CheckRedirect: redirects(true)}
	return f
}

func newClient(host bool, proxy func(*http.Request) (*url.URL, error), plain bool) *http.Client {
	p := policy{host: host, own: hostonly.Own}
	dialer := &net.Dialer{Timeout: dialTime, Control: p.control} // after names are resolved
	return &http.Client{
		Transport: &http.Transport{
			Proxy: proxy, DialContext: dialer.DialContext, TLSHandshakeTimeout: dialTime, ResponseHeaderTimeout: stallTime, DisableKeepAlives: true,
			DisableCompression: true,
		},
		CheckRedirect: redirects(plain),
	}
}

// redirects says which are followed: where plain is true, from https to http, too.
func redirects(plain bool) func(*http.Request, []*http.Request) error {
	return func(r *http.Request, via []*http.Request) error {
		switch {
		case len(via) >= maxRedirects:
			return fmt.Errorf("it was redirected %d times", maxRedirects)
		case r.URL.Scheme != "https" && via[0].URL.Scheme == "https" && !plain:
			return fmt.Errorf("redirected from https to %s: %w", r.URL.Scheme, ErrRefused)
		}
		return nil
	}
}

// Client makes requests under the same rules, for protocols that need more than one.
func (f *Fetcher) Client() *http.Client { return f.client }

// Download is what to get.
type Download struct {
	URL      string          // http or https
	Digest   checksum.Digest // that the content must have; "" for any
	MaxBytes int64
	// Signed content is checked by the caller, so it may come by way of a redirect from
	// https to http. So may content with a digest.
	Signed bool
	// Progress is called now and then with the bytes that are there and those that
	// there will be, 0 if nobody knows; its error ends the download.
	Progress func(done, total int64) error
}

// Get writes the content of a URL to w and returns its size.
func (f *Fetcher) Get(ctx context.Context, d Download, w io.Writer) (int64, error) {
	n, err := f.get(ctx, d, w)
	if err != nil {
		return n, fmt.Errorf("downloading: %w", err)
	}
	return n, nil
}

func (f *Fetcher) get(ctx context.Context, d Download, w io.Writer) (int64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	response, err := f.request(ctx, d, nil)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	switch {
	case response.StatusCode != http.StatusOK:
		return 0, refusal(response)
	case response.ContentLength > d.MaxBytes:
		return 0, fmt.Errorf("%w: %d bytes; %d are the most", ErrTooLarge, response.ContentLength, d.MaxBytes)
	}
	var sum hash.Hash
	if d.Digest != "" {
		sum = d.Digest.New()
		w = io.MultiWriter(w, sum)
	}
	n, err := d.copy(w, response, 0, cancel)
	if err != nil || sum == nil {
		return n, err
	}
	return n, d.compare(sum)
}

// request asks for a download, by the owner's mirror if there is one.
func (f *Fetcher) request(ctx context.Context, d Download, header http.Header) (*http.Response, error) {
	if d.Digest != "" {
		if _, err := checksum.Parse(string(d.Digest)); err != nil {
			return nil, err
		}
	}
	target, mirrored := f.Where(d.URL)
	client := f.client
	switch {
	case mirrored:
		client = f.mirror
	case d.Signed || d.Digest != "":
		client = f.plain
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, err
	}
	for k, v := range header {
		r.Header[k] = v
	}
	response, err := client.Do(r)
	var way *url.Error
	if errors.As(err, &way) { // callers tell the URL, if it matters; a redirect or a mirror may have led elsewhere
		if u, perr := url.Parse(way.URL); perr == nil {
			way.Op, way.URL = "asking", u.Host
		}
	}
	return response, err
}

// Where is where the content of a URL is asked for: at the owner's mirror, if there is
// one for it.
func (f *Fetcher) Where(target string) (_ string, mirrored bool) {
	if there, ok := f.mirrors.Rewrite(target); ok {
		return there, true
	}
	return target, false
}

// refusal is the error of an answer without content.
func refusal(r *http.Response) error {
	if r.StatusCode == http.StatusNotFound || r.StatusCode == http.StatusGone {
		return fmt.Errorf("%w: it answered %s", ErrNotFound, r.Status)
	}
	return fmt.Errorf("the server answered %s", r.Status)
}

// copy writes what the response holds to w, behind the have bytes that are there.
// It ends by cancel when nothing comes any more.
func (d Download) copy(w io.Writer, response *http.Response, have int64, cancel func()) (int64, error) {
	stall := time.AfterFunc(stallTime, cancel)
	defer stall.Stop()
	total := int64(0)
	if response.ContentLength > 0 {
		total = have + response.ContentLength
	}
	b := &body{Reader: response.Body, progress: d.Progress, total: total, done: have, reported: have, at: time.Now(), arrived: func() { stall.Reset(stallTime) }}
	n, err := io.Copy(w, io.LimitReader(b, d.MaxBytes-have+1))
	if err == nil && have+n > d.MaxBytes {
		err = fmt.Errorf("%w: more than %d bytes", ErrTooLarge, d.MaxBytes)
	}
	return n, err
}

func (d Download) compare(sum hash.Hash) error {
	if got := d.Digest.Algorithm() + ":" + hex.EncodeToString(sum.Sum(nil)); got != string(d.Digest) {
		return fmt.Errorf("%w: %s, not %s", ErrDigest, got, d.Digest)
	}
	return nil
}

// body tells of its progress.
type body struct {
	io.Reader
	progress              func(done, total int64) error
	done, reported, total int64
	at                    time.Time // of the last report
	arrived               func()
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	b.done += int64(n)
	b.arrived()
	if b.progress != nil && n > 0 && (b.done-b.reported >= reportBytes || time.Since(b.at) >= reportTime) {
		b.reported, b.at = b.done, time.Now()
		if err := b.progress(b.done, b.total); err != nil {
			return n, &ended{err}
		}
	}
	return n, err
}

// ended is the error of a Progress, which wants no further try.
type ended struct{ error }

func (e *ended) Unwrap() error { return e.error }

// policy says which addresses may be connected to.
type policy struct {
	host bool
	own  func() (map[netip.Addr]bool, error)
}

// check returns ErrRefused for an address that must not be connected to.
func (p policy) check(a netip.Addr) error {
	a = a.Unmap().WithZone("")
	if a.IsLoopback() {
		if p.host {
			return nil
		}
		return fmt.Errorf("%s: %w", a, ErrRefused)
	}
	if why := hostonly.Why(a); why != "" {
		return fmt.Errorf("%s, %s: %w", a, why, ErrRefused)
	}
	if p.host {
		return nil
	}
	own, err := p.own()
	if err != nil {
		return err
	}
	if own[a] {
		return fmt.Errorf("%s: %w", a, ErrRefused)
	}
	return nil
}

// control judges each connection before it is made.
func (p policy) control(_, address string, _ syscall.RawConn) error {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	return p.check(a.Addr())
}
