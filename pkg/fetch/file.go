package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// fileTries is how often a download to a file is taken up again before it is given
// up, unless each try brings something.
const fileTries = 5

// File is what a download to a file brought.
type File struct {
	Bytes    int64
	Modified time.Time // as the server says; zero if it does not
}

// GetFile has f hold the content of a URL. A broken transfer is taken up where it
// broke, and a file that is not empty is taken for the beginning of the content, left
// by an earlier call: with a digest, a beginning that turns out wrong is fetched anew.
func (f *Fetcher) GetFile(ctx context.Context, d Download, file *os.File) (File, error) {
	got, err := f.getFile(ctx, d, file)
	if err != nil {
		return got, fmt.Errorf("downloading %s: %w", d.URL, err)
	}
	return got, nil
}

func (f *Fetcher) getFile(ctx context.Context, d Download, file *os.File) (File, error) {
	t := &transfer{Fetcher: f, Download: d, file: file}
	for {
		have, err := file.Seek(0, io.SeekEnd)
		if err != nil {
			return t.got, err
		}
		resumed := have > 0
		if err := t.whole(ctx); err != nil {
			return t.got, err
		}
		if t.got.Bytes, err = file.Seek(0, io.SeekEnd); err != nil || d.Digest == "" {
			return t.got, err
		}
		err = t.check()
		if err == nil || !resumed || !errors.Is(err, ErrDigest) {
			return t.got, err
		}
		if err := t.restart(); err != nil {
			return t.got, err
		}
	}
}

// transfer is a download to a file on its way.
type transfer struct {
	*Fetcher
	Download
	file *os.File
	got  File
	tag  string // what tells that the server still has the same
}

// whole makes requests until all is there.
func (t *transfer) whole(ctx context.Context) error {
	for failures := 0; ; {
		before, err := t.file.Seek(0, io.SeekEnd)
		if err != nil {
			return err
		}
		again, err := t.once(ctx, before)
		if err == nil || !again || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		if after, _ := t.file.Seek(0, io.SeekEnd); after > before {
			failures = 0
		}
		if failures++; failures >= fileTries {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Duration(failures*failures) * t.pause):
		}
	}
}

// once makes one request for what lacks behind have bytes, and says whether another
// makes sense.
func (t *transfer) once(ctx context.Context, have int64) (again bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	header := http.Header{}
	if have > 0 {
		header.Set("Range", "bytes="+strconv.FormatInt(have, 10)+"-")
		if t.tag != "" {
			header.Set("If-Range", t.tag)
		}
	}
	response, err := t.request(ctx, t.Download, header)
	if err != nil {
		var network *url.Error
		return errors.As(err, &network) && !errors.Is(err, ErrRefused), err
	}
	defer response.Body.Close()
	switch code := response.StatusCode; {
	case code == http.StatusPartialContent && strings.HasPrefix(response.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", have)):
	case code == http.StatusOK:
		if err := t.restart(); err != nil {
			return false, err
		}
		have = 0
	case code == http.StatusRequestedRangeNotSatisfiable && whole(response, have):
		return false, nil
	case code == http.StatusRequestedRangeNotSatisfiable:
		return true, errors.Join(errors.New("the file has changed on the server"), t.restart())
	default:
		return code >= 500 || code == http.StatusTooManyRequests, refusal(response)
	}
	t.remember(response)
	if have+max(response.ContentLength, 0) > t.MaxBytes {
		return false, fmt.Errorf("%w: %d bytes; %d are the most", ErrTooLarge, have+response.ContentLength, t.MaxBytes)
	}
	_, err = t.copy(toDisk{t.file}, response, have, cancel)
	var stop *ended
	var full *diskError
	return !errors.As(err, &stop) && !errors.As(err, &full) && !errors.Is(err, ErrTooLarge), err
}

// whole reports whether a refused range says that nothing lacks behind have bytes.
func whole(response *http.Response, have int64) bool {
	return have > 0 && response.Header.Get("Content-Range") == fmt.Sprintf("bytes */%d", have)
}

// remember notes what the server says of the file.
func (t *transfer) remember(response *http.Response) {
	t.tag = response.Header.Get("ETag")
	if strings.HasPrefix(t.tag, "W/") { // good for equal meaning, not for equal bytes
		t.tag = ""
	}
	if m, err := http.ParseTime(response.Header.Get("Last-Modified")); err == nil {
		t.got.Modified = m.UTC()
	}
}

func (t *transfer) restart() error {
	if err := t.file.Truncate(0); err != nil {
		return err
	}
	_, err := t.file.Seek(0, io.SeekStart)
	return err
}

// check compares the file with its digest.
func (t *transfer) check() error {
	if _, err := t.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	sum := t.Digest.New()
	if _, err := io.Copy(sum, t.file); err != nil {
		return err
	}
	return t.compare(sum)
}

// diskError tells a full disk from a broken transfer: only the latter is worth
// another try.
type diskError struct{ error }

func (e *diskError) Unwrap() error { return e.error }

type toDisk struct{ *os.File }

func (d toDisk) Write(p []byte) (int, error) {
	n, err := d.File.Write(p)
	if err != nil {
		err = &diskError{err}
	}
	return n, err
}

// ReadFrom hides that of os.File, whose errors do not tell reading from writing.
func (d toDisk) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{d}, r)
}
