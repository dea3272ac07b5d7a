package daemon

import (
	"net/http"
	"testing"
	"time"
)

// TestIdleConnections: clients close connections that they do not use first, those
// too that they have not used yet, and no answer is cut off because its call took long.
func TestIdleConnections(t *testing.T) {
	client := http.DefaultTransport.(*http.Transport).IdleConnTimeout
	s := (&Daemon{}).endpointServer(t.Context())
	for name, d := range map[string]time.Duration{"used": s.IdleTimeout, "fresh": s.ReadHeaderTimeout} {
		if d <= client {
			t.Errorf("the server closes a %s connection after %v, clients after %v", name, d, client)
		}
	}
	if s.ReadTimeout != 0 || s.WriteTimeout != 0 {
		t.Errorf("connections end after %v or %v, whatever is done on them", s.ReadTimeout, s.WriteTimeout)
	}
}
