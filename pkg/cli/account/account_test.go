package account

import "testing"

func TestParseQuotas(t *testing.T) {
	set, remove, err := parseQuotas([]string{"instances=5", "vcpus=unlimited", "images=0"})
	if err != nil || len(set) != 2 || *set[0].Name != "instances" || *set[0].Value != 5 || *set[1].Value != 0 || len(remove) != 1 || remove[0] != "vcpus" {
		t.Errorf("%v %v %v", set, remove, err)
	}
	if got := showQuotas(set); got != "instances=5 images=0" {
		t.Errorf("%q", got)
	}
	for _, bad := range []string{"instances", "cakes=1", "instances=-1", "instances=many", "=1"} {
		if _, _, err := parseQuotas([]string{bad}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
