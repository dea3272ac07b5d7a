package cloud_test

import (
	"errors"
	"testing"

	"github.com/bundt/bundt/pkg/model"
)

// The host's addresses are given to who asks for one, once, and to nobody else.
func TestAllocateHostAddress(t *testing.T) {
	a, _, _ := room(t, nil)
	for range 20 {
		if e, err := a.AllocateAddress(t.Context(), "", nil); err != nil || e.PublicIP == hostAddress {
			t.Fatalf("any address: %+v, %v", e, err)
		}
	}
	if e, err := a.AllocateAddress(t.Context(), hostAddress, nil); err != nil || e.PublicIP != hostAddress {
		t.Fatalf("the host's address: %+v, %v", e, err)
	}
	for ip, code := range map[string]string{hostAddress: "InvalidAddress.NotFound", "192.0.2.11": model.CodeInvalidParameterValue, "nonsense": model.CodeInvalidParameterValue} {
		var e *model.Error
		if _, err := a.AllocateAddress(t.Context(), ip, nil); !errors.As(err, &e) || e.Code != code {
			t.Errorf("%s: %v, want %s", ip, err, code)
		}
	}
}
