// Package fetch owns downloads of what users name by URL. The host makes the
// connections, but users choose where they go: not to the host's own services, and
// not to what only the host may ask, like the metadata service of a cloud that it
// is in. Of our packages it imports pkg/hostonly only.
package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

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
)

const (
	dialTime     = 15 * time.Second
	stallTime    = 60 * time.Second // without a byte
	maxRedirects = 5
	reportBytes  = 16 << 20 // between two calls of Progress
)

// Options of a Fetcher.
type Options struct {
	// Host lets URLs lead to the host's own addresses, loopback included.
	Host bool
}

// Fetcher makes downloads.
type Fetcher struct{ client *http.Client }

// New returns a Fetcher. It uses no proxy: what a proxy connects to cannot be
// judged from here.
func New(o Options) *Fetcher {
	p := policy{host: o.Host, own: hostonly.Own}
	dialer := &net.Dialer{Timeout: dialTime, Control: p.control} // after names are resolved
	return &Fetcher{&http.Client{
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSHandshakeTimeout: dialTime, ResponseHeaderTimeout: stallTime, DisableKeepAlives: true,
			DisableCompression: true,
		},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			switch {
			case len(via) >= maxRedirects:
				return fmt.Errorf("it was redirected %d times", maxRedirects)
			case r.URL.Scheme != "https" && via[0].URL.Scheme == "https":
				return fmt.Errorf("redirected from https to %s: %w", r.URL.Scheme, ErrRefused)
			}
			return nil
		},
	}}
}

// Client makes requests under the same rules, for protocols that need more than one.
func (f *Fetcher) Client() *http.Client { return f.client }

// Download is what to get.
type Download struct {
	URL      string // http or https
	Digest   string // "sha256:HEX" that the content must have; "" for any
	MaxBytes int64
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
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, d.URL, nil)
	if err != nil {
		return 0, err
	}
	response, err := f.client.Do(r)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	switch {
	case response.StatusCode != http.StatusOK:
		return 0, fmt.Errorf("the server answered %s", response.Status)
	case response.ContentLength > d.MaxBytes:
		return 0, fmt.Errorf("%w: %d bytes; %d are the most", ErrTooLarge, response.ContentLength, d.MaxBytes)
	}
	stall := time.AfterFunc(stallTime, cancel)
	defer stall.Stop()
	sum := sha256.New()
	body := &body{Reader: response.Body, progress: d.Progress, total: max(response.ContentLength, 0), arrived: func() { stall.Reset(stallTime) }}
	n, err := io.Copy(io.MultiWriter(w, sum), io.LimitReader(body, d.MaxBytes+1))
	switch {
	case err != nil:
		return n, err
	case n > d.MaxBytes:
		return n, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, d.MaxBytes)
	}
	if got := "sha256:" + hex.EncodeToString(sum.Sum(nil)); d.Digest != "" && got != d.Digest {
		return n, fmt.Errorf("%w: %s, not %s", ErrDigest, got, d.Digest)
	}
	return n, nil
}

// body tells of its progress.
type body struct {
	io.Reader
	progress              func(done, total int64) error
	done, reported, total int64
	arrived               func()
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	b.done += int64(n)
	b.arrived()
	if b.progress != nil && b.done-b.reported >= reportBytes {
		b.reported = b.done
		if err := b.progress(b.done, b.total); err != nil {
			return n, err
		}
	}
	return n, err
}

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
