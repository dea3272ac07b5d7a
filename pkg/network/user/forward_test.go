package user

import (
	"testing"

	"github.com/bundt/bundt/pkg/network/nettest"
)

// forwarding calls run with what moves one packet of a tracked flow from guest to
// guest, of IPv4 and of IPv6.
func forwarding(t testing.TB, run func(kind string, size int, move func())) {
	h := newHostile(t)
	from, to := h.ports[0], h.ports[1]
	body := make([]byte, 1400)
	for kind, frame := range map[string][]byte{
		"IPv4": nettest.UDPFrame(from.mac[:], to.mac[:], addr(from.ip), addr(to.ip), 1000, 53, body),
		"IPv6": nettest.UDPv6Frame(from.mac[:], to.mac[:], from.Config().IPv6[0], to.Config().IPv6[0], 1000, 53, body),
	} {
		run(kind, len(frame), func() {
			from.input(frame)
			to.vpc.frames.put(<-to.queue)
		})
	}
}

// BenchmarkForward is what the switch itself takes for one packet.
func BenchmarkForward(b *testing.B) {
	forwarding(b, func(kind string, size int, move func()) {
		b.Run(kind, func(b *testing.B) {
			b.SetBytes(int64(size))
			for b.Loop() {
				move()
			}
		})
	})
}

// A packet of a tracked flow costs no memory.
func TestForwardAllocates(t *testing.T) {
	forwarding(t, func(kind string, _ int, move func()) {
		move()
		if n := testing.AllocsPerRun(1000, move); n > 0 { // the pool's rare ones round to none
			t.Errorf("%s: %.1f allocations for a packet", kind, n)
		}
	})
}
