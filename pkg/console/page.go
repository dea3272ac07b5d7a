package console

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"hash/fnv"
	"html/template"
	"io/fs"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/auth"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/version"
)

//go:embed templates/*.html
var templateFiles embed.FS

//go:embed assets
var assetFiles embed.FS

// view is what a page is rendered of.
type view struct {
	Title   string // for the browser; the heading is the template's
	Section string // of the navigation
	Main    any    // for the page's own template
	// Template is the page's; "table" and "detail" are for many.
	Template string

	Session *request
	Flash   *flash
	Still   bool     // it does not change while it is looked at, or its script sees to that
	Policy  string   // instead of the usual one, for what browsers hold the page to
	Styles  []string // more assets
	Scripts []string
	Version string
	Assets  string // changes with the assets, which browsers keep
}

// request is one for a page, by somebody who signed in.
type request struct {
	*http.Request
	console *Console
	session *session
	who     api.Principal
}

// Region and Who are for the page's head.
func (r *request) Region() string { return r.console.options.Region }

// Who is the name of who signed in.
func (r *request) Who() string {
	switch id := r.who.Identity; {
	case id.User != "":
		return id.User
	case id.Role != "":
		return id.Role + "/" + id.Session
	}
	return "root"
}

// Account is whose things are shown.
func (r *request) Account() string { return r.who.AccountID }

var errNoPage = model.Errorf("NotFound", "There is no such page")

// pageFunc makes a page.
type pageFunc func(ctx context.Context, r *request) (*view, error)

// page serves one: whole, or its main part again and again.
func (c *Console) page(f pageFunc) http.HandlerFunc {
	f = withExport(f)
	return c.signedIn(func(w http.ResponseWriter, r *request) {
		if r.Header.Get("Accept") == eventStream {
			c.stream(w, r, f)
			return
		}
		v, err := f(r.Context(), r)
		if err == nil && r.URL.Query().Get(exportParameter) == exportCSV && v.listed() != nil {
			c.export(w, r, f, v)
			return
		}
		status := http.StatusOK
		if err != nil {
			status, v = c.failure(err)
		}
		v.Session, v.Flash = r, c.sessions.told(r.session)
		c.write(w, status, v.Template, "layout", v)
	})
}

// signedIn serves those who are, and sends others to sign in.
func (c *Console) signedIn(serve func(http.ResponseWriter, *request)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s, who, ok := c.principal(r)
		if !ok {
			if r.Header.Get("Accept") == eventStream {
				http.Error(w, "sign in", http.StatusUnauthorized)
				return
			}
			next := Path
			if r.Method == http.MethodGet {
				next = r.URL.RequestURI()
			}
			http.Redirect(w, r, Path+"sign-in?next="+url.QueryEscape(next), http.StatusSeeOther)
			return
		}
		serve(w, &request{Request: r, console: c, session: s, who: who})
	}
}

// failure is the page that shows an error.
func (c *Console) failure(err error) (int, *view) {
	e := c.public(err)
	status := api.HTTPStatus(e.Code)
	if e.Code == errNoPage.Code || e.Code == auth.CodeNoSuchEntity || strings.HasSuffix(e.Code, ".NotFound") {
		status = http.StatusNotFound
	}
	return status, &view{Title: "Something is wrong", Template: "error", Main: e, Still: true}
}

// public is an error as people may see it.
func (c *Console) public(err error) *model.Error {
	var public *model.Error
	if errors.As(err, &public) {
		return public
	}
	return c.options.Dispatcher.PublicError(&api.Call{Action: "console", RequestID: api.NewRequestID()}, err)
}

// call makes a call as whoever signed in.
func call[O any](ctx context.Context, r *request, action string, in any) (*O, error) {
	out, err := r.call(ctx, action, in)
	if err != nil {
		return nil, err
	}
	typed, ok := out.(*O)
	if !ok {
		return nil, fmt.Errorf("calling %s: it answers with %T", action, out)
	}
	return typed, nil
}

// forbidden reports whether the call was one that the policies do not allow.
func forbidden(err error) bool { return model.CodeOf(err) == api.CodeUnauthorizedOperation }

// optional is a call's answer, an empty one for those who may not make it: they still
// see the rest of the page.
func optional[O any](out *O, err error) (*O, error) {
	if forbidden(err) {
		return new(O), nil
	}
	return out, err
}

// act is call for those whose answer is only that it was done.
func act(ctx context.Context, r *request, action string, in any) error {
	_, err := r.call(ctx, action, in)
	return err
}

func (r *request) call(ctx context.Context, action string, in any) (any, error) {
	return r.console.options.Dispatcher.Call(ctx, r.newCall(action, in))
}

func (r *request) newCall(action string, in any) *api.Call {
	origin := api.Origin{TLS: r.TLS != nil, UserAgent: r.UserAgent()}
	if from, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		origin.Address = from.Addr()
	}
	return &api.Call{Action: action, Input: in, Principal: r.who, Origin: origin}
}

// do serves a form that changes something: it goes to the page that the function names,
// with what it says, or back with what was wrong.
func (c *Console) do(f func(ctx context.Context, r *request) (next, done string, err error)) http.HandlerFunc {
	return c.signedIn(func(w http.ResponseWriter, r *request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		if err := r.ParseForm(); err != nil {
			http.Error(w, "The form is too large, or none.", http.StatusBadRequest)
			return
		}
		next, done, err := f(r.Context(), r)
		var file *download
		switch {
		case errors.As(err, &file):
			file.serve(w)
			return
		case err != nil:
			e := c.public(err)
			c.sessions.tell(r.session, &flash{Error: true, Text: e.Message, Hint: e.Hint})
			next = back(r)
		case done != "":
			c.sessions.tell(r.session, &flash{Text: done})
		}
		http.Redirect(w, r.Request, next, http.StatusSeeOther)
	})
}

// maxForm bounds a form: user data has 16 KiB at most.
const maxForm = 256 << 10

// back is the page that a form is on.
func back(r *request) string {
	if u, err := url.Parse(r.Referer()); err == nil && u.Host == r.Host {
		return localPath(u.RequestURI())
	}
	return Path
}

// download is a file instead of a page, as an error so that it ends a form's way.
type download struct {
	name    string
	content []byte
}

func (d *download) Error() string { return "a file: " + d.name }

func (d *download) serve(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", d.name))
	_, _ = w.Write(d.content) // an error means that the browser is gone
}

var (
	assetsVersion = digestOf(assetFiles)
	pages         = parsePages()
)

// digestOf names the state of the assets.
func digestOf(files fs.FS) string {
	h := fnv.New64a()
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(files, name)
		_, _ = h.Write(b) // a hash takes everything
		return err
	})
	if err != nil {
		panic(err) // embedded files are there
	}
	return fmt.Sprintf("%x", h.Sum64())
}

// parsePages parses each page's template with the layout.
func parsePages() map[string]*template.Template {
	shared := template.Must(template.New("").Funcs(functions).ParseFS(templateFiles, "templates/layout.html", "templates/parts.html"))
	all := map[string]*template.Template{}
	names, err := fs.Glob(templateFiles, "templates/*.html")
	if err != nil {
		panic(err)
	}
	for _, file := range names {
		name := strings.TrimSuffix(strings.TrimPrefix(file, "templates/"), ".html")
		if name == "layout" || name == "parts" {
			continue
		}
		all[name] = template.Must(template.Must(shared.Clone()).ParseFS(templateFiles, file))
	}
	return all
}

// write renders a page. Nothing of it is sent before all of it is there.
func (c *Console) write(w http.ResponseWriter, status int, name, part string, v *view) {
	body, err := render(name, part, v)
	if err != nil {
		c.options.Log.Error("rendering a page", "page", name, "error", err)
		http.Error(w, "The page cannot be shown; the daemon's log says why.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if v.Policy != "" {
		w.Header().Set("Content-Security-Policy", v.Policy)
	}
	w.WriteHeader(status)
	_, _ = w.Write(body) // an error means that the browser is gone
}

func render(name, part string, v *view) ([]byte, error) {
	t, ok := pages[name]
	if !ok {
		return nil, fmt.Errorf("there is no template %q", name)
	}
	v.Version, v.Assets = version.Get().Version, assetsVersion
	var b bytes.Buffer
	err := t.ExecuteTemplate(&b, part, v)
	return b.Bytes(), err
}

const eventStream = "text/event-stream"

const (
	// settle is how long a page waits for more changes before it is rendered again.
	settle = 150 * time.Millisecond
	// rest is how much longer it waits than it took to render: pages that are a lot
	// of work must not keep the daemon busy while much happens.
	rest = 5
	// look is how often a page is rendered without a change: for what changes by itself.
	look = 10 * time.Second
)

// stream sends a page's main part at once and after each change of it.
func (c *Console) stream(w http.ResponseWriter, r *request, f pageFunc) {
	connection := http.NewResponseController(w)
	_ = connection.SetWriteDeadline(time.Time{}) // not every writer has deadlines, as those of tests
	w.Header().Set("Content-Type", eventStream)
	ctx := r.Context()
	changes, every := make(<-chan struct{}), time.Second
	if c.options.Changes != nil {
		changes, every = c.options.Changes(ctx), look
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	var last []byte
	for {
		event, body := "main", []byte(nil)
		began := time.Now()
		if _, _, ok := c.principal(r.Request); !ok {
			event = "gone"
		} else if v, err := f(ctx, r); err != nil {
			event = "gone"
		} else {
			v.Session = r
			if body, err = render(v.Template, "main", v); err != nil {
				c.options.Log.Error("rendering a page", "page", v.Template, "error", err)
				return
			}
		}
		if event == "gone" || !bytes.Equal(body, last) {
			last = body
			if err := sendEvent(w, event, body); err != nil || connection.Flush() != nil || event == "gone" {
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-changes:
			time.Sleep(max(settle, rest*time.Since(began)))
			for len(changes) > 0 {
				<-changes
			}
		}
	}
}

func sendEvent(w http.ResponseWriter, event string, body []byte) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "event: %s\n", event)
	for line := range bytes.SplitSeq(body, []byte("\n")) {
		fmt.Fprintf(&b, "data: %s\n", line)
	}
	b.WriteString("\n")
	_, err := w.Write(b.Bytes())
	return err
}

// assetHandler serves the files that pages refer to, with an address of each state.
func assetHandler() http.Handler {
	sub, err := fs.Sub(assetFiles, "assets")
	if err != nil {
		panic(err) // the embedded directory is there
	}
	files := http.StripPrefix(Path+"assets/", http.FileServerFS(sub))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("v") == assetsVersion {
			w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		}
		files.ServeHTTP(w, r)
	})
}
