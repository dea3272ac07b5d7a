package user

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/bundt/bundt/pkg/metadata"
)

type connKey struct{}

// serveMetadata runs the metadata service at a. Who asks is the port by which
// the connection came in.
func (v *vpc) serveMetadata(a netip.Addr) ([]closer, error) {
	l, err := v.listenTCP(a, 80)
	if err != nil {
		return nil, err
	}
	conn := func(r *http.Request) *guestConn {
		c, _ := r.Context().Value(connKey{}).(*guestConn)
		return c
	}
	handler := metadata.New(metadata.ServerOptions{
		Secret: v.shared.secret,
		Signer: v.shared.signer.Load,
		Lookup: func(r *http.Request) (metadata.Document, bool) {
			c := conn(r)
			if c == nil || v.portOf(c.port.ip) != c.port {
				return metadata.Document{}, false
			}
			return c.port.config.Load().Metadata, true
		},
		LimitHops: func(r *http.Request, hops int) { conn(r).limitHops(hops) },
	})
	s := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      2 * time.Minute, // guests under emulation are slow
		IdleTimeout:       30 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          v.shared.httpErrors,
		ConnContext:       func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
	}
	v.serving.Add(1)
	go func() {
		defer v.serving.Done()
		_ = s.Serve(l) // ends by Close
	}()
	return []closer{s, l}, nil
}
