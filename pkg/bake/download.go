package bake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// errTooLarge means that a file is not the one that was meant.
var errTooLarge = errors.New("the file is larger than expected")

// errGone means that the mirror does not have a file (any more).
var errGone = errors.New("the mirror does not have it")

const (
	downloadTries = 4
	// stallTimeout ends a transfer that brings nothing for so long.
	stallTimeout = 30 * time.Second
)

var httpClient = &http.Client{Transport: &http.Transport{
	Proxy:                 http.ProxyFromEnvironment,
	DialContext:           (&net.Dialer{Timeout: 15 * time.Second}).DialContext,
	TLSHandshakeTimeout:   15 * time.Second,
	ResponseHeaderTimeout: stallTimeout,
	MaxIdleConnsPerHost:   4,
	IdleConnTimeout:       10 * time.Second,
}}

// download appends the content at rawURL to f, at most limit bytes in all. It
// retries, and resumes where the last try ended.
func download(ctx context.Context, rawURL string, f *os.File, limit int64) error {
	u, err := url.Parse(rawURL)
	if err != nil {
		return err
	}
	if u.Scheme == "file" {
		return copyLocal(u.Path, f, limit)
	}
	var last error
	for try := range downloadTries {
		if try > 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Duration(try*try) * 200 * time.Millisecond):
			}
		}
		retry, err := downloadOnce(ctx, rawURL, f, limit)
		if err == nil {
			return nil
		}
		last = fmt.Errorf("downloading %s: %w", rawURL, err)
		if !retry || ctx.Err() != nil {
			return last
		}
	}
	return last
}

func copyLocal(name string, f *os.File, limit int64) error {
	in, err := os.Open(name)
	if isNotExist(err) {
		return fmt.Errorf("%s: %w", name, errGone)
	}
	if err != nil {
		return err
	}
	defer in.Close()
	return copyLimited(f, in, limit)
}

func copyLimited(w io.Writer, r io.Reader, limit int64) error {
	n, err := io.Copy(w, io.LimitReader(r, limit+1))
	if err == nil && n > limit {
		return fmt.Errorf("%w: more than %d bytes", errTooLarge, limit)
	}
	return err
}

// downloadOnce makes one request for what f lacks, and says whether another try
// makes sense.
func downloadOnce(ctx context.Context, rawURL string, f *os.File, limit int64) (retry bool, err error) {
	have, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, rawURL, nil)
	if err != nil {
		return false, err
	}
	if have > 0 {
		req.Header.Set("Range", "bytes="+strconv.FormatInt(have, 10)+"-")
	}
	resp, err := httpClient.Do(req)
	if err != nil {
		return true, err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusPartialContent &&
		strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", have)):
	case resp.StatusCode == http.StatusOK:
		if err := restart(f); err != nil {
			return false, err
		}
		have = 0
	case resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusGone:
		return false, errGone
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		return true, errors.Join(errors.New("the file changed on the mirror"), restart(f))
	default:
		again := resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests
		return again, fmt.Errorf("the mirror answered %s", resp.Status)
	}
	stall := time.AfterFunc(stallTimeout, cancel)
	defer stall.Stop()
	body := &watched{resp.Body, func() { stall.Reset(stallTimeout) }}
	if err := copyLimited(diskWriter{f}, body, limit-have); err != nil {
		var full *writeError
		return !errors.As(err, &full) && !errors.Is(err, errTooLarge), err
	}
	return false, nil
}

func restart(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.Seek(0, io.SeekStart)
	return err
}

// watched calls moved whenever data comes.
type watched struct {
	io.Reader
	moved func()
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	if n > 0 {
		w.moved()
	}
	return n, err
}

// writeError tells a full disk from a broken transfer: only the latter is worth
// another try.
type writeError struct{ error }

func (e *writeError) Unwrap() error { return e.error }

type diskWriter struct{ f *os.File }

func (d diskWriter) Write(p []byte) (int, error) {
	n, err := d.f.Write(p)
	if err != nil {
		err = &writeError{err}
	}
	return n, err
}
