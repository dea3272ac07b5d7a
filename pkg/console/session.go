package console

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/model"
)

const (
	cookieName = "bundt-session"
	// linkTime is how long a link to sign in by is good for, once.
	linkTime = 5 * time.Minute
	// maxSessions bounds the memory of sessions and links; the oldest goes first.
	maxSessions = 1000
)

// token is the digest of what a cookie or a link has: who reads the memory of the
// daemon cannot sign in with it.
type token [sha256.Size]byte

func newToken() (string, token) {
	text := rand.Text()
	return text, sha256.Sum256([]byte(text))
}

// session is somebody's who signed in.
type session struct {
	key       token
	principal api.Principal
	used      time.Time
	flash     *flash // shown once
}

// flash is what came of the last thing that was done.
type flash struct {
	Error   bool
	Text    string
	Hint    string
	Details []string
}

// sessions are all of them, and the links that make new ones.
type sessions struct {
	idle time.Duration
	now  func() time.Time

	mu    sync.Mutex
	open  map[token]*session
	links map[token]*session // used is when it was made
}

func newSessions(idle time.Duration) *sessions {
	return &sessions{idle: idle, now: time.Now, open: map[token]*session{}, links: map[token]*session{}}
}

// add keeps a session in one of the maps, and forgets what is over.
func (s *sessions) add(in map[token]*session, lasts time.Duration, p api.Principal) string {
	text, key := newToken()
	s.mu.Lock()
	defer s.mu.Unlock()
	var oldest *session
	for k, other := range in {
		if s.now().Sub(other.used) > lasts {
			delete(in, k)
		} else if oldest == nil || other.used.Before(oldest.used) {
			oldest = other
		}
	}
	if len(in) >= maxSessions {
		delete(in, oldest.key)
	}
	in[key] = &session{key: key, principal: p, used: s.now()}
	return text
}

func (s *sessions) start(p api.Principal) string { return s.add(s.open, s.idle, p) }

// find returns a session that is not over.
func (s *sessions) find(text string) (*session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, ok := s.open[sha256.Sum256([]byte(text))]
	if !ok || s.now().Sub(found.used) > s.idle {
		return nil, false
	}
	found.used = s.now()
	return found, true
}

func (s *sessions) end(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, sha256.Sum256([]byte(text)))
}

// redeem uses a link up.
func (s *sessions) redeem(text string) (api.Principal, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := sha256.Sum256([]byte(text))
	found, ok := s.links[key]
	delete(s.links, key)
	if !ok || s.now().Sub(found.used) > linkTime {
		return api.Principal{}, false
	}
	return found.principal, true
}

// tell leaves a message for the session's next page.
func (s *sessions) tell(in *session, f *flash) {
	s.mu.Lock()
	defer s.mu.Unlock()
	in.flash = f
}

// told takes the message.
func (s *sessions) told(in *session) *flash {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := in.flash
	in.flash = nil
	return f
}

// Link makes a link by which a principal signs in, once, within five minutes. base is
// the server's URL.
func (c *Console) Link(base string, p api.Principal) (link string, expires time.Time) {
	text := c.sessions.add(c.sessions.links, linkTime, p)
	return strings.TrimSuffix(base, "/") + Path + "sign-in?token=" + text, c.sessions.now().Add(linkTime)
}

func (c *Console) signInRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET "+Path+"sign-in", func(w http.ResponseWriter, r *http.Request) {
		c.showSignIn(w, http.StatusOK, signIn{Token: r.URL.Query().Get("token"), Next: localPath(r.URL.Query().Get("next"))})
	})
	mux.HandleFunc("POST "+Path+"sign-in", c.signIn)
	mux.HandleFunc("POST "+Path+"sign-out", func(w http.ResponseWriter, r *http.Request) {
		if cookie, err := r.Cookie(cookieName); err == nil {
			c.sessions.end(cookie.Value)
		}
		setCookie(w, r, "", -1)
		http.Redirect(w, r, Path+"sign-in", http.StatusSeeOther)
	})
}

// signIn is the page before all others.
type signIn struct {
	Token  string // of a link
	Next   string
	Region string
	Error  string
}

func (c *Console) showSignIn(w http.ResponseWriter, status int, s signIn) {
	s.Region = c.options.Region
	c.write(w, status, "sign-in", "layout", &view{Title: "Sign in", Main: s})
}

func (c *Console) signIn(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 8<<10)
	next := localPath(r.FormValue("next"))
	var p api.Principal
	if link := r.FormValue("token"); link != "" {
		var ok bool
		if p, ok = c.sessions.redeem(link); !ok {
			c.showSignIn(w, http.StatusForbidden, signIn{Next: next, Error: "This link has been used, or is older than five minutes. Make another one with: bundt console"})
			return
		}
	} else {
		var err error
		p, err = c.options.SignIn(r.Context(), strings.TrimSpace(r.FormValue("key")), strings.TrimSpace(r.FormValue("secret")))
		var public *model.Error
		switch {
		case errors.As(err, &public):
			c.showSignIn(w, http.StatusForbidden, signIn{Next: next, Error: public.Message})
			return
		case err != nil:
			c.options.Log.Error("signing in", "error", err)
			c.showSignIn(w, http.StatusInternalServerError, signIn{Next: next, Error: "The daemon could not look the key up; its log says why."})
			return
		}
	}
	setCookie(w, r, c.sessions.start(p), 0)
	http.Redirect(w, r, next, http.StatusSeeOther)
}

// setCookie sets the session's cookie until the browser is closed, or ends it.
func setCookie(w http.ResponseWriter, r *http.Request, value string, age int) {
	http.SetCookie(w, &http.Cookie{Name: cookieName, Value: value, Path: Path, MaxAge: age, Secure: r.TLS != nil, HttpOnly: true, SameSite: http.SameSiteStrictMode})
}

// localPath is where to go after signing in: a page of the console, never elsewhere.
func localPath(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(u.Path, Path) || strings.Contains(next, `\`) {
		return Path
	}
	return u.RequestURI()
}

// principal is who a request is from: api.Principal's zero value with false if they
// have to sign in.
func (c *Console) principal(r *http.Request) (*session, api.Principal, bool) {
	cookie, err := r.Cookie(cookieName)
	if err != nil {
		return nil, api.Principal{}, false
	}
	s, ok := c.sessions.find(cookie.Value)
	if !ok {
		return nil, api.Principal{}, false
	}
	p, err := c.check(r.Context(), s.principal)
	return s, p, err == nil
}

func (c *Console) check(ctx context.Context, p api.Principal) (api.Principal, error) {
	if e := p.Identity.Expires; !e.IsZero() && c.sessions.now().After(e) {
		return p, model.Errorf(model.CodeAuthFailure, "The credentials have expired")
	}
	return c.options.Check(ctx, p)
}

// newName is a name that nothing has.
func newName() string { return rand.Text()[:8] }
