package json11_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/api/json11"
	"github.com/bundt/bundt/pkg/api/monitoringtypes"
)

// TestTimes: times of requests are seconds, whole or not, wherever they are.
func TestTimes(t *testing.T) {
	decode := func(body string) (*monitoringtypes.GetMetricDataInput, error) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-amz-json-1.0")
		r.Header.Set("X-Amz-Target", "GraniteServiceVersion20100801.GetMetricData")
		in := new(monitoringtypes.GetMetricDataInput)
		_, err := json11.Monitoring().Decode(r, []byte(body), func(string) (any, error) { return in, nil })
		return in, err
	}
	in, err := decode(`{"StartTime": 1764200000, "EndTime": 1764200600.25, "MetricDataQueries": [{"Id": "a", "MetricStat": {"Period": 60, "Stat": "Sum", "Metric": {}}}]}`)
	if err != nil {
		t.Fatal(err)
	}
	if !in.StartTime.Equal(time.Unix(1764200000, 0)) || !in.EndTime.Equal(time.UnixMilli(1764200600250)) || *in.MetricDataQueries[0].MetricStat.Period != 60 {
		t.Errorf("%+v", in)
	}
	for _, bad := range []string{`{"StartTime": 1e300}`, `{"StartTime": [1]}`, `{"StartTime": {}}`, `{"StartTime": 1} {}`, `{"MetricDataQueries": 1}`, `[1]`, `{"Times": 1}`} {
		if _, err := decode(bad); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}
