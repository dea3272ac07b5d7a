package console

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/bundt/bundt/pkg/api"
)

// Path is where the console is on its server.
const Path = "/console/"

// Recipe is one that comes with bundt, and can be built by a click.
type Recipe struct {
	Name, Title, Description string
	Architectures            []string
}

// Options of a Console.
type Options struct {
	// Dispatcher makes the calls. Required.
	Dispatcher *api.Dispatcher
	// Region is shown.
	Region string
	// Architecture is the host's own, by EC2's name: what is offered first.
	Architecture string
	// SignIn finds whose access key this is. An error of model.CodeAuthFailure says
	// that it is nobody's.
	SignIn func(ctx context.Context, keyID, secret string) (api.Principal, error)
	// Check returns a principal who signed in before as they are now; an error if
	// they are no more. It is called for each request.
	Check func(ctx context.Context, p api.Principal) (api.Principal, error)
	// Changes is told, until ctx ends, whenever anything may have changed: one that
	// was not received stands for all that follow. Nil: pages look every second.
	Changes func(ctx context.Context) <-chan struct{}
	// Serial joins the serial port of an instance of the caller's, who is in the context
	// as handlers of actions find them.
	Serial func(ctx context.Context, instanceID string) (net.Conn, error)
	// Recipes are built in; Upload sends one to the daemon and returns its digest.
	Recipes []Recipe
	Upload  func(ctx context.Context, name string) (digest string, err error)
	// SessionTime is how long a session lasts without a request; 12 hours if zero.
	SessionTime time.Duration
	Log         *slog.Logger
}

// Console is the web console.
type Console struct {
	options  Options
	sessions *sessions
	handler  http.Handler
}

const defaultSessionTime = 12 * time.Hour

// New returns a console.
func New(o Options) (*Console, error) {
	if o.Dispatcher == nil || o.SignIn == nil || o.Check == nil || o.Serial == nil {
		return nil, errors.New("making the console: it needs a dispatcher, serial ports, and to know who signs in")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c := &Console{options: o, sessions: newSessions(cmp.Or(o.SessionTime, defaultSessionTime))}
	mux := http.NewServeMux()
	mux.Handle("GET "+Path+"assets/", assetHandler())
	c.signInRoutes(mux)
	for _, routes := range []func(*http.ServeMux){c.overviewRoutes, c.instanceRoutes, c.terminalRoutes, c.launchRoutes, c.imageRoutes, c.buildRoutes, c.storageRoutes, c.networkRoutes, c.keyRoutes, c.accountRoutes, c.learnRoutes, c.userRoutes} {
		routes(mux)
	}
	mux.HandleFunc(Path, func(w http.ResponseWriter, r *http.Request) {
		c.page(func(context.Context, *request) (*view, error) { return nil, errNoPage })(w, r)
	})
	c.handler = secured(http.NewCrossOriginProtection().Handler(mux))
	return c, nil
}

// ServeHTTP serves everything below Path.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) { c.handler.ServeHTTP(w, r) }

// policy allows nothing but this origin's own files.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// secured sets what browsers shall hold every page to, and refuses names that an
// attacker may have pointed at this host.
func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if !ownHost(r) {
			http.Error(w, "The console is reached by this host's address, or by a name with TLS (bundtd --tls-cert).", http.StatusMisdirectedRequest)
			return
		}
		if r.Method == http.MethodPost { // not every writer has deadlines, as those of tests
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime))
		}
		next.ServeHTTP(w, r)
	})
}

// bodyTime is how long a browser may take to send a form.
const bodyTime = 30 * time.Second

// ownHost reports whether the Host header cannot be a name of somebody else's that
// was pointed here: a certificate has the name, or it is none.
func ownHost(r *http.Request) bool {
	if r.TLS != nil {
		return true
	}
	host := r.Host
	if addr, err := netip.ParseAddrPort(host); err == nil {
		return addr.IsValid()
	}
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:i]
	}
	if host == "localhost" {
		return true
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil
}
