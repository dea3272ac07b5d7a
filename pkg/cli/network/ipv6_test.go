package network

import (
	"net/netip"
	"testing"
)

func TestFreeSubnet(t *testing.T) {
	for _, tt := range []struct {
		whole string
		taken []string
		want  string
	}{
		{"fd12:3456:789a:bc00::/56", nil, "fd12:3456:789a:bc00::/64"},
		{"fd12:3456:789a:bc00::/56", []string{"fd12:3456:789a:bc00::/64", "fd12:3456:789a:bc01::/64", "fd12:3456:789a:bc03::/64"}, "fd12:3456:789a:bc02::/64"},
		{"fd12:3456:789a:bc10::/63", []string{"fd12:3456:789a:bc10::/64"}, "fd12:3456:789a:bc11::/64"},
		{"fd12:3456:789a:bc10::/64", []string{"fd12:3456:789a:bc10::/64"}, ""},
	} {
		taken := map[string]bool{}
		for _, p := range tt.taken {
			taken[p] = true
		}
		if got, ok := freeSubnet(netip.MustParsePrefix(tt.whole), taken); got != tt.want || ok != (tt.want != "") {
			t.Errorf("of %s without %q: %q, %v, want %q", tt.whole, tt.taken, got, ok, tt.want)
		}
	}
}
