package console

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/api/monitoringtypes"
)

func TestChart(t *testing.T) {
	begin := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	c := volumeCharts()[0]
	at := func(minutes ...int) (out []time.Time) {
		for _, m := range minutes {
			out = append(out, begin.Add(time.Duration(m)*time.Minute))
		}
		return out
	}
	c.draw([]*monitoringtypes.MetricDataResult{
		{Timestamps: at(0, 1, 3), Values: []float64{60, 120, 60 * 1500}}, {Timestamps: at(3, 99), Values: []float64{600, 1}},
	}, begin, pastSpan{"1h", "1 hour", time.Hour, 60})
	if c.Top != "2 kB/s" || c.Curves[0].Now != "1.5 kB/s" || c.Curves[1].Now != "10 B/s" {
		t.Errorf("%+v", c)
	}
	if path := c.Curves[0].Path; strings.Count(path, "M") != 2 || strings.Count(path, "L") != 1 || !strings.HasPrefix(path, "M5.0 117.") {
		t.Errorf("a curve with a gap is %s", path)
	}
	if len(c.Rows) != 3 || c.Rows[0].Time != "Nov 27 12:03" || c.Rows[0].Values[1] != "10 B/s" || c.Rows[1].Values[1] != "" {
		t.Errorf("the table is %+v", c.Rows)
	}
	empty := volumeCharts()[1]
	empty.draw([]*monitoringtypes.MetricDataResult{nil, {}}, begin, spans()[0])
	if empty.Curves[0].Path != "" || empty.Curves[1].Now != "nothing measured yet" || len(empty.Rows) != 0 {
		t.Errorf("%+v", empty)
	}
	for v, want := range map[float64]float64{0: 1, 1: 1, 1.1: 2, 3: 5, 7: 10, 4096: 5000} {
		if got := niceTop(v, "B"); math.Abs(got-want) > 1e-9*want {
			t.Errorf("above %v is %v, not %v", v, got, want)
		}
	}
}
