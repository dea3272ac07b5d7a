//go:build vm

package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/bundt/bundt/hack/harness"
	"github.com/bundt/bundt/pkg/api/bundttypes"
)

// TestRegions copies an image from one cloud to another and boots it there. The line
// breaks while the disk is sent, and the daemon that gets it is killed: what had arrived is
// not sent again.
func TestRegions(t *testing.T) {
	west := newDaemon(t, func(o *harness.Options) { o.Args = append(o.Args, "--region", "west-1", "--listen", "127.0.0.1:0") })
	image := west.build(t, "tiny", "x86_64")
	at, err := west.API.DescribeEndpoint(t.Context(), &bundttypes.DescribeEndpointInput{})
	must(t, err)
	target, err := url.Parse(at.Url)
	must(t, err)

	// A line that breaks in the middle of everything large, until it is mended.
	var broken atomic.Bool
	broken.Store(true)
	var sent, asked atomic.Int64
	cut := make(chan struct{}, 64)
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.Director = func(r *http.Request) { r.URL.Scheme, r.URL.Host = target.Scheme, target.Host } // what is signed stays as it is
	proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	proxy.ModifyResponse = func(r *http.Response) error {
		if strings.Contains(r.Request.URL.Path, "/blobs/") && r.ContentLength > 1<<20 {
			asked.Add(1)
			r.Body = &line{r.Body, &broken, r.ContentLength / 2, &sent, cut}
		}
		return nil
	}
	server := httptest.NewServer(proxy)
	defer server.Close()

	file := filepath.Join(t.TempDir(), "regions.yaml")
	must(t, os.WriteFile(file, fmt.Appendf(nil, "west-1:\n  endpoint: %s\n  credentials: %s\n", server.URL, at.CredentialsFile), 0o600))
	east := newDaemon(t, func(o *harness.Options) { o.Args = append(o.Args, "--regions", file, "--listen", "127.0.0.1:0") })
	id := east.cli(t, "image", "copy", image, "--from-region", "west-1", "--name", "copied", "--no-wait")
	<-cut
	east.Kill()
	broken.Store(false)
	before := sent.Load()
	must(t, east.Start(t.Context()))
	east.available(t, id)
	tasks, err := east.API.DescribeRegistryTasks(t.Context(), &bundttypes.DescribeRegistryTasksInput{})
	must(t, err)
	if moved := tasks.Tasks[0].MovedBytes; before == 0 || sent.Load() > moved+moved/2 {
		t.Errorf("the copy has %d bytes; %d were sent before the daemon was killed, and %d in all, by %d answers", moved, before, sent.Load(), asked.Load())
	}

	key := filepath.Join(east.Dir, "key")
	east.cli(t, "key", "create", "k", "--file", key)
	instance := east.cli(t, "run", "copied", "--type", "b1.nano", "--key", "k", "--wait", "reachable", "--timeout", "3m")
	if got := east.cli(t, "ssh", "-i", key, instance, "--", "cat /etc/hostname"); !strings.HasPrefix(got, "ip-") {
		t.Errorf("the guest says %q", got)
	}

	// What is here is not sent again.
	again := east.cli(t, "image", "copy", image, "--from-region", "west-1", "--name", "twice")
	tasks, err = east.API.DescribeRegistryTasks(t.Context(), &bundttypes.DescribeRegistryTasksInput{})
	must(t, err)
	for _, task := range tasks.Tasks {
		if task.ImageId == again && task.MovedBytes != 0 {
			t.Errorf("a second copy moved %d bytes", task.MovedBytes)
		}
	}
	out, err := east.CLI(t.Context(), "image", "copy", "ami-0123456789abcdef0", "--from-region", "west-1", "--name", "none").CombinedOutput()
	if err == nil || !bytes.Contains(out, []byte("west-1 answered")) {
		t.Errorf("an image that is not there: %v: %s", err, out)
	}
}

// line is what is sent over a line that breaks after some bytes.
type line struct {
	io.ReadCloser
	broken *atomic.Bool
	left   int64
	sent   *atomic.Int64
	cut    chan<- struct{}
}

func (l *line) Read(b []byte) (int, error) {
	if l.broken.Load() && l.left <= 0 {
		select {
		case l.cut <- struct{}{}:
		default:
		}
		return 0, io.ErrUnexpectedEOF
	}
	n, err := l.ReadCloser.Read(b)
	l.left -= int64(n)
	l.sent.Add(int64(n))
	return n, err
}
