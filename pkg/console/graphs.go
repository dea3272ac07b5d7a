package console

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/api/monitoringtypes"
)

// pastSpan is how much of the past graphs show, and how finely.
type pastSpan struct {
	Name, Title string
	length      time.Duration
	period      int32 // seconds
}

// spans are those to choose from, the usual one first.
func spans() []pastSpan {
	return []pastSpan{
		{"1h", "1 hour", time.Hour, 60}, {"6h", "6 hours", 6 * time.Hour, 300}, {"1d", "1 day", 24 * time.Hour, 900}, {"15d", "15 days", 15 * 24 * time.Hour, 3 * 3600},
	}
}

// curve is a metric to be drawn.
type curve struct {
	Label, Class            string
	namespace, metric, stat string
	perSecond               bool
}

// chart is a picture of one or two metrics of a resource.
type chart struct {
	ID     string // in the page
	Title  string
	Top    string // what the upper edge means
	Span   string
	Curves []drawn
	Rows   []chartRow // the same as a table
	unit   string
	ask    []curve
}

type drawn struct {
	Label, Class, Now string
	Path              string // of an SVG with 600 points from left to right and 120 from top to bottom
}

type chartRow struct {
	Time   string
	Values []string
}

const chartWidth, chartHeight = 600, 120

// graphs are the charts of a resource's page.
type graphs struct {
	Spans   []pastSpan
	Chosen  string
	Charts  []chart
	Problem string // why there are none
}

func instanceCharts() []chart {
	return []chart{
		{Title: "Processor", unit: "%", ask: []curve{{"used", "a", "AWS/EC2", "CPUUtilization", "Average", false}}},
		{Title: "Host memory", unit: "B", ask: []curve{{"occupied", "a", "Bundt", "MemoryResident", "Average", false}}},
		{Title: "Network", unit: "B/s", ask: []curve{{"in", "a", "AWS/EC2", "NetworkIn", "Sum", true}, {"out", "b", "AWS/EC2", "NetworkOut", "Sum", true}}},
		{Title: "Volumes", unit: "B/s", ask: []curve{{"read", "a", "AWS/EC2", "EBSReadBytes", "Sum", true}, {"written", "b", "AWS/EC2", "EBSWriteBytes", "Sum", true}}},
	}
}

func volumeCharts() []chart {
	return []chart{
		{Title: "Throughput", unit: "B/s", ask: []curve{{"read", "a", "AWS/EBS", "VolumeReadBytes", "Sum", true}, {"written", "b", "AWS/EBS", "VolumeWriteBytes", "Sum", true}}},
		{Title: "Operations", unit: "/s", ask: []curve{{"reads", "a", "AWS/EBS", "VolumeReadOps", "Sum", true}, {"writes", "b", "AWS/EBS", "VolumeWriteOps", "Sum", true}}},
	}
}

// chartsOf draws what was measured of a resource; nil if the caller may not see that.
func chartsOf(ctx context.Context, r *request, dimension, id string, charts []chart) *graphs {
	g := &graphs{Spans: spans(), Charts: charts}
	s := g.Spans[0]
	for _, o := range g.Spans {
		if o.Name == r.FormValue("span") {
			s = o
		}
	}
	g.Chosen = s.Name
	period := time.Duration(s.period) * time.Second
	end := time.Now().UTC().Truncate(period).Add(period)
	begin := end.Add(-s.length)
	in := &monitoringtypes.GetMetricDataInput{StartTime: &begin, EndTime: &end, ScanBy: new(monitoringtypes.ScanByTimestampAscending)}
	for i := range charts {
		for j, c := range charts[i].ask {
			in.MetricDataQueries = append(in.MetricDataQueries, monitoringtypes.MetricDataQuery{Id: new(fmt.Sprintf("m%d_%d", i, j)), MetricStat: &monitoringtypes.MetricStat{
				Metric: &monitoringtypes.Metric{Namespace: &c.namespace, MetricName: &c.metric, Dimensions: []monitoringtypes.Dimension{{Name: &dimension, Value: &id}}},
				Period: &s.period, Stat: &c.stat,
			}})
		}
	}
	out, err := call[monitoringtypes.GetMetricDataOutput](ctx, r, "GetMetricData", in)
	if forbidden(err) {
		return nil
	}
	if err != nil {
		g.Charts, g.Problem = nil, err.Error()
		return g
	}
	byID := map[string]*monitoringtypes.MetricDataResult{}
	for i := range out.MetricDataResults {
		byID[ec2types.Value(out.MetricDataResults[i].Id)] = &out.MetricDataResults[i]
	}
	for i := range charts {
		var results []*monitoringtypes.MetricDataResult
		for j := range charts[i].ask {
			results = append(results, byID[fmt.Sprintf("m%d_%d", i, j)])
		}
		charts[i].draw(results, begin, s)
	}
	return g
}

// draw makes the curves of what was measured since a time, all on one scale.
func (c *chart) draw(results []*monitoringtypes.MetricDataResult, begin time.Time, s pastSpan) {
	c.Span, c.ID = strings.TrimPrefix(s.Title, "1 "), "values-"+strings.ReplaceAll(strings.ToLower(c.Title), " ", "-")
	slots := int(s.length / (time.Duration(s.period) * time.Second))
	series, top := make([][]float64, len(results)), 0.0
	for i, r := range results {
		series[i] = make([]float64, slots)
		for n := range series[i] {
			series[i][n] = math.NaN()
		}
		if r == nil {
			continue
		}
		for n, t := range r.Timestamps {
			v := r.Values[n]
			if c.ask[i].perSecond {
				v /= float64(s.period)
			}
			if at := int(t.Sub(begin) / (time.Duration(s.period) * time.Second)); at >= 0 && at < slots {
				series[i][at] = v
				top = max(top, v)
			}
		}
	}
	top = niceTop(top, c.unit)
	c.Top = amount(top, c.unit)
	for i := range series {
		d := drawn{Label: c.ask[i].Label, Class: c.ask[i].Class, Path: pathOf(series[i], top), Now: "nothing measured yet"}
		for n := len(series[i]) - 1; n >= 0; n-- {
			if !math.IsNaN(series[i][n]) {
				d.Now = amount(series[i][n], c.unit)
				break
			}
		}
		c.Curves = append(c.Curves, d)
	}
	for n := slots - 1; n >= 0; n-- {
		row, known := chartRow{Time: begin.Add(time.Duration(n) * time.Duration(s.period) * time.Second).Format("Jan 2 15:04")}, false
		for i := range series {
			v := series[i][n]
			if math.IsNaN(v) {
				row.Values = append(row.Values, "")
				continue
			}
			row.Values, known = append(row.Values, amount(v, c.unit)), true
		}
		if known {
			c.Rows = append(c.Rows, row)
		}
	}
}

// pathOf is an SVG path with a gap where nothing was measured.
func pathOf(values []float64, top float64) string {
	var b strings.Builder
	pen := false
	for n, v := range values {
		if math.IsNaN(v) {
			pen = false
			continue
		}
		x := (float64(n) + .5) * chartWidth / float64(len(values))
		y := chartHeight - v/top*(chartHeight-4) - 2
		if pen {
			fmt.Fprintf(&b, "L%.1f %.1f", x, y)
		} else {
			fmt.Fprintf(&b, "M%.1f %.1fh.1", x, y) // a point is seen, too
		}
		pen = true
	}
	return b.String()
}

// niceTop is a round number that is not less than the largest value.
func niceTop(v float64, unit string) float64 {
	if unit == "%" {
		return 100
	}
	if v <= 0 {
		return 1
	}
	base := 10.0
	scale := math.Pow(base, math.Floor(math.Log10(v)))
	for _, f := range []float64{1, 2, 5, 10} {
		if v <= f*scale {
			return f * scale
		}
	}
	return 10 * scale
}

// amount writes a value with its unit.
func amount(v float64, unit string) string {
	if unit == "%" {
		return fmt.Sprintf("%.3g%%", v)
	}
	prefix := ""
	for _, p := range []string{"k", "M", "G", "T"} {
		if v < 1000 {
			break
		}
		v, prefix = v/1000, p
	}
	return strings.TrimSpace(fmt.Sprintf("%.3g %s", v, cmp.Or(prefix+unit, "")))
}
