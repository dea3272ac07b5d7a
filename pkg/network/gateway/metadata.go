package gateway

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/bundt/bundt/pkg/metadata"
)

type connKey struct{}

// MetadataOptions say who asks.
type MetadataOptions struct {
	Secret []byte                  // of tokens
	Signer func() *metadata.Signer // of identity documents
	// Document is of the guest that the connection came from, whatever address it
	// claims.
	Document func(net.Conn) (metadata.Document, bool)
	// LimitHops sets the TTL of what is sent on the connection from now on.
	LimitHops func(c net.Conn, hops int)
}

// ServeMetadata runs the metadata service on l until the server that it returns
// is closed. running counts it.
func ServeMetadata(l net.Listener, o MetadataOptions, running *sync.WaitGroup) *http.Server {
	conn := func(r *http.Request) net.Conn {
		c, _ := r.Context().Value(connKey{}).(net.Conn)
		return c
	}
	handler := metadata.New(metadata.ServerOptions{
		Secret:    o.Secret,
		Signer:    o.Signer,
		Lookup:    func(r *http.Request) (metadata.Document, bool) { return o.Document(conn(r)) },
		LimitHops: func(r *http.Request, hops int) { o.LimitHops(conn(r), hops) },
	})
	s := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      2 * time.Minute, // guests under emulation are slow
		IdleTimeout:       30 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          log.New(io.Discard, "", 0), // a guest must not fill the host's log
		ConnContext:       func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
	}
	running.Go(func() { _ = s.Serve(l) }) // ends by Close
	return s
}
