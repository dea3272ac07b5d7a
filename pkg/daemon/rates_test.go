package daemon

import (
	"strings"
	"testing"
)

func TestRates(t *testing.T) {
	for _, rates := range [][2]int{{0, 0}, {1, 2000}, {-1, 1}, {1, -1}} {
		c := DefaultConfig()
		c.DataDir, c.RunDir = t.TempDir(), "/run/x"
		c.ReadRate, c.ChangeRate = rates[0], rates[1]
		err := c.complete()
		if bad := rates[0] < 0 || rates[1] < 0; bad != (err != nil) || bad && !strings.Contains(err.Error(), "--read-rate") {
			t.Errorf("%v: %v", rates, err)
		}
	}
}
