package actions

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/api/monitoringtypes"
	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/metrics"
	"github.com/bundt/bundt/pkg/model"
)

// CloudWatch's error codes, and its bounds.
const (
	codeInvalidParameterCombination = "InvalidParameterCombination"
	maxMetricQueries                = 500
	maxStatisticPoints              = 1440
	maxDataPoints                   = 100800
	metricsPage                     = 500
)

// History is what was measured of instances and volumes.
type History interface {
	Read(id string, metric int, from, to time.Time, period time.Duration, now time.Time) ([]metrics.Point, error)
	Has(id string) bool
}

// RegisterMonitoring adds the part of CloudWatch's actions that reads metrics to a table.
func RegisterMonitoring(t *api.Table, c *cloud.Cloud, h History) {
	a := &monitoring{cloud: c, history: h, pager: api.NewPager(c.Info().Secret), now: time.Now}
	api.Register(t, api.Action[monitoringtypes.ListMetricsInput, monitoringtypes.ListMetricsOutput]{
		Name: "ListMetrics", Handler: a.list, Acts: []string{"Namespace", "MetricName", "Dimensions", "NextToken"},
	})
	api.Register(t, api.Action[monitoringtypes.GetMetricStatisticsInput, monitoringtypes.GetMetricStatisticsOutput]{
		Name: "GetMetricStatistics", Handler: a.statistics,
		Acts: []string{"Namespace", "MetricName", "Dimensions", "StartTime", "EndTime", "Period", "Statistics", "Unit"},
	})
	api.Register(t, api.Action[monitoringtypes.GetMetricDataInput, monitoringtypes.GetMetricDataOutput]{
		Name: "GetMetricData", Handler: a.data,
		Acts: []string{
			"StartTime", "EndTime", "ScanBy", "MetricDataQueries.Id", "MetricDataQueries.Label", "MetricDataQueries.ReturnData",
			"MetricDataQueries.MetricStat.Metric.Namespace", "MetricDataQueries.MetricStat.Metric.MetricName", "MetricDataQueries.MetricStat.Metric.Dimensions",
			"MetricDataQueries.MetricStat.Period", "MetricDataQueries.MetricStat.Stat", "MetricDataQueries.MetricStat.Unit",
		},
	})
}

type monitoring struct {
	cloud   *cloud.Cloud
	history History
	pager   *api.Pager
	now     func() time.Time
}

// measured is a metric of a resource.
type measured struct {
	metrics.Metric
	index int
	id    string
}

// resources lists the metrics of those of the caller's instances and volumes of which something
// was measured: all of them, or those with these ids.
func (a *monitoring) resources(ctx context.Context, ids ...string) (out []measured, err error) {
	account := a.cloud.Account(api.PrincipalFrom(ctx).AccountID)
	instances, err := account.FindInstances(ctx, nil)
	if err != nil {
		return nil, err
	}
	volumes, err := account.FindVolumes(ctx, nil)
	if err != nil {
		return nil, err
	}
	add := func(id string, list func() []metrics.Metric) {
		if (len(ids) > 0 && !slices.Contains(ids, id)) || !a.history.Has(id) {
			return
		}
		for i, m := range list() {
			out = append(out, measured{m, i, id})
		}
	}
	for _, i := range instances {
		add(i.ID, metrics.OfInstances)
	}
	for _, v := range volumes {
		add(v.ID, metrics.OfVolumes)
	}
	return out, nil
}

// dimensionValues are the ids that dimensions may mean; one that is none, if they mean nothing.
func dimensionValues(lists ...[]monitoringtypes.Dimension) []string {
	ids := []string{""}
	for _, list := range lists {
		for _, d := range list {
			ids = append(ids, *d.Value)
		}
	}
	return ids
}

func (a *monitoring) list(ctx context.Context, in *monitoringtypes.ListMetricsInput) (*monitoringtypes.ListMetricsOutput, error) {
	all, err := a.resources(ctx)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(m measured) bool {
		for _, d := range in.Dimensions {
			if *d.Name != m.Dimension || d.Value != nil && *d.Value != m.id {
				return true
			}
		}
		return in.Namespace != nil && *in.Namespace != m.Namespace || in.MetricName != nil && *in.MetricName != m.Name
	})
	slices.SortFunc(all, func(x, y measured) int { return cmp.Or(cmp.Compare(x.id, y.id), cmp.Compare(x.index, y.index)) })
	asked := *in
	asked.NextToken = nil
	page, next, err := api.Paginate(a.pager, api.PageRequest{
		Action: "ListMetrics", NextToken: in.NextToken, MaxResults: ptr(int32(metricsPage)), Query: asked, Min: 1, Max: metricsPage,
	}, all, func(m measured) string { return fmt.Sprintf("%s %02d", m.id, m.index) })
	out := &monitoringtypes.ListMetricsOutput{NextToken: next}
	for _, m := range page {
		out.Metrics = append(out.Metrics, monitoringtypes.Metric{
			Namespace: &m.Namespace, MetricName: &m.Name, Dimensions: []monitoringtypes.Dimension{{Name: &m.Dimension, Value: &m.id}},
		})
	}
	return out, err
}

// findMetric returns the metric that a request names; nil if nothing was measured of such a one.
func findMetric(all []measured, namespace, name *string, dimensions []monitoringtypes.Dimension) *measured {
	for i := range all {
		m := &all[i]
		if m.Namespace == ec2types.Value(namespace) && m.Name == ec2types.Value(name) && len(dimensions) == 1 && *dimensions[0].Name == m.Dimension && *dimensions[0].Value == m.id {
			return m
		}
	}
	return nil
}

// points reads a metric for a request's time, with at most so many points.
func (a *monitoring) points(m *measured, from, to time.Time, seconds int32, most int) ([]metrics.Point, error) {
	period := time.Duration(seconds) * time.Second
	switch {
	case seconds%60 != 0:
		return nil, model.Errorf(model.CodeInvalidParameterValue, "The parameter Period must be a multiple of 60: values are known by the minute")
	case !from.Before(to):
		return nil, model.Errorf(model.CodeInvalidParameterValue, "The parameter StartTime must be less than the parameter EndTime")
	case to.Sub(from)/period > time.Duration(most):
		return nil, model.Errorf(codeInvalidParameterCombination, "You have requested up to %d datapoints, which exceeds the limit of %d. Choose a longer Period or a shorter time", to.Sub(from)/period, most)
	case m == nil:
		return nil, nil
	}
	return a.history.Read(m.id, m.index, from.Truncate(period), to, period, a.now())
}

// statistic is one of a point.
func statistic(p *metrics.Point, name string) (float64, bool) {
	switch name {
	case monitoringtypes.StatisticAverage:
		return p.Average(), true
	case monitoringtypes.StatisticSum:
		return p.Sum, true
	case monitoringtypes.StatisticMinimum:
		return p.Min, true
	case monitoringtypes.StatisticMaximum:
		return p.Max, true
	case monitoringtypes.StatisticSampleCount:
		return float64(p.Count), true
	}
	return 0, false
}

func (a *monitoring) statistics(ctx context.Context, in *monitoringtypes.GetMetricStatisticsInput) (*monitoringtypes.GetMetricStatisticsOutput, error) {
	if len(in.Statistics) == 0 {
		return nil, model.Errorf(codeInvalidParameterCombination, "The parameter Statistics must be specified: percentiles are not known")
	}
	all, err := a.resources(ctx, dimensionValues(in.Dimensions)...)
	if err != nil {
		return nil, err
	}
	m := findMetric(all, in.Namespace, in.MetricName, in.Dimensions)
	points, err := a.points(m, *in.StartTime, *in.EndTime, *in.Period, maxStatisticPoints)
	if err != nil {
		return nil, err
	}
	out := &monitoringtypes.GetMetricStatisticsOutput{Label: in.MetricName}
	if m == nil || in.Unit != nil && *in.Unit != m.Unit {
		return out, nil
	}
	for i := range points {
		p := &points[i]
		d := monitoringtypes.Datapoint{Timestamp: &p.Time, Unit: &m.Unit}
		for _, s := range in.Statistics {
			v, _ := statistic(p, s)
			*map[string]**float64{
				monitoringtypes.StatisticAverage: &d.Average, monitoringtypes.StatisticSum: &d.Sum, monitoringtypes.StatisticMinimum: &d.Minimum,
				monitoringtypes.StatisticMaximum: &d.Maximum, monitoringtypes.StatisticSampleCount: &d.SampleCount,
			}[s] = &v
		}
		out.Datapoints = append(out.Datapoints, d)
	}
	return out, nil
}

func (a *monitoring) data(ctx context.Context, in *monitoringtypes.GetMetricDataInput) (*monitoringtypes.GetMetricDataOutput, error) {
	if len(in.MetricDataQueries) > maxMetricQueries {
		return nil, model.Errorf(model.CodeInvalidParameterValue, "The parameter MetricDataQueries has %d queries, and %d are the most", len(in.MetricDataQueries), maxMetricQueries)
	}
	var dimensions [][]monitoringtypes.Dimension
	for _, q := range in.MetricDataQueries {
		if q.MetricStat != nil {
			dimensions = append(dimensions, q.MetricStat.Metric.Dimensions)
		}
	}
	all, err := a.resources(ctx, dimensionValues(dimensions...)...)
	if err != nil {
		return nil, err
	}
	out, seen := &monitoringtypes.GetMetricDataOutput{}, map[string]bool{}
	for i := range in.MetricDataQueries {
		q := &in.MetricDataQueries[i]
		if q.MetricStat == nil || seen[*q.Id] {
			return nil, model.Errorf(model.CodeInvalidParameterValue, "The query %s must have an Id of its own and a MetricStat: expressions are not evaluated", *q.Id)
		}
		seen[*q.Id] = true
		r, err := a.result(all, in, q)
		if err != nil {
			return nil, err
		}
		if q.ReturnData == nil || *q.ReturnData {
			out.MetricDataResults = append(out.MetricDataResults, *r)
		}
	}
	return out, nil
}

// result answers one query of GetMetricData.
func (a *monitoring) result(all []measured, in *monitoringtypes.GetMetricDataInput, q *monitoringtypes.MetricDataQuery) (*monitoringtypes.MetricDataResult, error) {
	s := q.MetricStat
	if _, ok := statistic(&metrics.Point{Count: 1}, *s.Stat); !ok {
		return nil, model.Errorf(model.CodeInvalidParameterValue, "The statistic %s is not known; there are Average, Sum, Minimum, Maximum and SampleCount", *s.Stat)
	}
	m := findMetric(all, s.Metric.Namespace, s.Metric.MetricName, s.Metric.Dimensions)
	points, err := a.points(m, *in.StartTime, *in.EndTime, *s.Period, maxDataPoints)
	if err != nil {
		return nil, err
	}
	r := &monitoringtypes.MetricDataResult{Id: q.Id, Label: cmp.Or(q.Label, s.Metric.MetricName), StatusCode: new(monitoringtypes.StatusCodeComplete)}
	if m == nil || s.Unit != nil && *s.Unit != m.Unit {
		return r, nil
	}
	if ec2types.Value(in.ScanBy) != monitoringtypes.ScanByTimestampAscending { // the newest first, unless asked for otherwise
		slices.Reverse(points)
	}
	for i := range points {
		v, _ := statistic(&points[i], *s.Stat)
		r.Timestamps, r.Values = append(r.Timestamps, points[i].Time), append(r.Values, v)
	}
	return r, nil
}
