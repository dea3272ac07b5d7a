package daemon

import (
	"context"
	"crypto/subtle"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/bundt/bundt/images"
	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/distribution"
	"github.com/bundt/bundt/pkg/auth"
	"github.com/bundt/bundt/pkg/console"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/recipe"
	"github.com/bundt/bundt/pkg/recipe/archive"
	"github.com/bundt/bundt/pkg/records"
)

// buildConsole makes the web console, which the network address serves besides.
func (d *Daemon) buildConsole(dispatcher *api.Dispatcher) error {
	var recipes []console.Recipe
	for _, name := range images.Names() {
		fsys, err := images.FS(name)
		if err != nil {
			return err
		}
		rec, err := recipe.Load(fsys)
		if err != nil {
			return fmt.Errorf("reading the recipe %s: %w", name, err)
		}
		r := console.Recipe{Name: name, Description: rec.Description}
		for _, a := range rec.Architectures {
			r.Architectures = append(r.Architectures, string(a))
		}
		recipes = append(recipes, r)
	}
	var err error
	d.console, err = console.New(console.Options{
		Dispatcher: dispatcher, Region: d.cfg.Region, SignIn: d.signIn, Check: d.stillThere, Changes: d.changes, Serial: d.connectSerial,
		Recipes: recipes, Upload: d.uploadRecipe, Log: d.log,
	})
	return err
}

// changes is told when something that pages show may have changed.
func (d *Daemon) changes(ctx context.Context) <-chan struct{} {
	told := make(chan struct{}, 1)
	watch := d.store.Watch(ctx, records.Instances.Name(), records.Images.Name(), records.Snapshots.Name(), records.Volumes.Name(), records.Builds.Name(),
		records.Groups.Name(), records.KeyPairs.Name(), records.ElasticAddresses.Name(), records.VPCs.Name(), records.Subnets.Name(), records.Products.Name())
	go func() {
		for range watch {
			select {
			case told <- struct{}{}:
			default:
			}
		}
	}()
	return told
}

// signIn finds whose access key this is.
func (d *Daemon) signIn(ctx context.Context, keyID, secret string) (api.Principal, error) {
	refused := model.Errorf(model.CodeAuthFailure, "There is no such access key, or the secret is another one")
	key, err := d.accounts.Key(ctx, keyID, "")
	switch model.CodeOf(err) {
	case auth.CodeInvalidClientTokenID, auth.CodeExpiredToken:
		return api.Principal{}, refused
	}
	if err != nil {
		return api.Principal{}, err
	}
	if subtle.ConstantTimeCompare([]byte(key.Secret), []byte(secret)) != 1 {
		return api.Principal{}, refused
	}
	return api.Principal{AccountID: key.Identity.AccountID, Name: keyID, Identity: key.Identity}, nil
}

// stillThere is a principal who signed in to the console, as they are now: a key that
// was taken away and a user who was deleted may do nothing any more.
func (d *Daemon) stillThere(ctx context.Context, p api.Principal) (api.Principal, error) {
	was := p.Identity
	switch {
	case was.Role != "":
		return p, nil // until it expires
	case was.AccessKeyID != "":
		key, err := d.accounts.Key(ctx, was.AccessKeyID, "")
		p.Identity = key.Identity
		return p, err
	}
	now, err := d.accounts.Acting(ctx, was.AccountID, was.User)
	if err == nil && now.ID != was.ID {
		err = model.Errorf(model.CodeAuthFailure, "The user %s is another one now", was.User)
	}
	p.Identity = now
	return p, err
}

// uploadRecipe keeps the directory of a recipe that comes with bundt.
func (d *Daemon) uploadRecipe(ctx context.Context, name string) (string, error) {
	fsys, err := images.FS(name)
	if err != nil {
		return "", err
	}
	r, w := io.Pipe()
	defer r.Close()
	go func() { w.CloseWithError(archive.Pack(w, fsys)) }()
	digest, _, err := d.upload(ctx, r)
	return digest, err
}

// ConsoleLink makes a link by which whoever asks signs in to the console.
func (v *view) ConsoleLink(p api.Principal) (*bundttypes.CreateConsoleLinkOutput, error) {
	d := v.daemon
	if d.Endpoint() == "" {
		return nil, model.Errorf(model.CodeUnsupportedOperation, "There is no console: the daemon serves no network address").
			WithHint("start bundtd without --listen ''")
	}
	url, expires := d.console.Link(d.Endpoint(), p)
	return &bundttypes.CreateConsoleLinkOutput{ExpiresAt: expires, Url: url}, nil
}

// withConsole serves the console beside AWS's services, which are all at "/".
func (d *Daemon) withConsole(services http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, console.Path):
			d.console.ServeHTTP(w, r)
		case strings.HasPrefix(r.URL.Path, distribution.Path):
			d.distribution.ServeHTTP(w, r)
		case forBrowser(r):
			http.Redirect(w, r, console.Path, http.StatusSeeOther)
		default:
			services.ServeHTTP(w, r)
		}
	})
}

// forBrowser reports whether somebody has only typed the address. Requests to the
// services are signed, in a header or in the query.
func forBrowser(r *http.Request) bool {
	return r.Method == http.MethodGet && (r.URL.Path == "/" || r.URL.Path == strings.TrimSuffix(console.Path, "/")) && r.URL.RawQuery == "" &&
		r.Header.Get("Authorization") == "" && strings.Contains(r.Header.Get("Accept"), "text/html")
}
