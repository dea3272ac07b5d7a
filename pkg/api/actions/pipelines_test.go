package actions

import (
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/model"
)

func TestNewestRunFirst(t *testing.T) {
	last := ""
	for _, at := range []string{"2200-01-01T00:00:00Z", "2026-11-27T00:00:00.000000001Z", "2026-11-27T00:00:00Z", "1980-01-01T00:00:00Z"} {
		created, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		key := newestRunFirst(&model.PipelineRun{ID: "pipeline-run-1", Created: created})
		if key <= last {
			t.Errorf("the key of %s, %q, is not after %q", at, key, last)
		}
		last = key
	}
}
