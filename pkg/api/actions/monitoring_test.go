package actions_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/actions"
	"github.com/bundt/bundt/pkg/api/monitoringtypes"
	"github.com/bundt/bundt/pkg/metrics"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

func TestMonitoring(t *testing.T) {
	s, c := emptyCloud(t)
	owner := c.Info().AccountID
	mine, theirs, unmeasured := "i-0123456789abcdef0", "i-0123456789abcdef1", "i-0123456789abcdef2"
	volume := "vol-0123456789abcdef0"
	err := s.Update(t.Context(), func(tx *store.Tx) error {
		for id, account := range map[string]string{mine: owner, theirs: "999999999999", unmeasured: owner} {
			if err := records.Instances.Put(tx, &model.Instance{ID: id, OwnerID: account, State: model.InstanceRunning}); err != nil {
				return err
			}
		}
		return records.Volumes.Put(tx, &model.Volume{ID: volume, OwnerID: owner})
	})
	if err != nil {
		t.Fatal(err)
	}
	history, err := metrics.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	end := time.Now().UTC().Truncate(5 * time.Minute)
	begin := end.Add(-10 * time.Minute)
	for i := range 10 {
		values := make([]float64, len(metrics.OfInstances()))
		values[metrics.CPUUtilization] = float64(10 * i)
		for _, id := range []string{mine, theirs} {
			if err := history.Record(id, begin.Add(time.Duration(i)*time.Minute), values); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := history.Record(volume, begin, make([]float64, len(metrics.OfVolumes()))); err != nil {
		t.Fatal(err)
	}
	table := api.NewTable()
	actions.RegisterMonitoring(table, c, history)
	d, err := api.NewDispatcher(table, api.Options{Authorize: func(context.Context, *api.Call) error { return nil }, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	call := func(action string, in any) (any, error) {
		return d.Call(t.Context(), &api.Call{Action: action, Input: in, Principal: api.Principal{AccountID: owner}})
	}

	out, err := call("ListMetrics", &monitoringtypes.ListMetricsInput{})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(out.(*monitoringtypes.ListMetricsOutput).Metrics); n != len(metrics.OfInstances())+len(metrics.OfVolumes()) {
		t.Errorf("%d metrics of one instance and one volume", n)
	}
	out, err = call("ListMetrics", &monitoringtypes.ListMetricsInput{
		Namespace: new("AWS/EC2"), MetricName: new("NetworkIn"), Dimensions: []monitoringtypes.DimensionFilter{{Name: new("InstanceId")}},
	})
	if list, ok := out.(*monitoringtypes.ListMetricsOutput); err != nil || !ok || len(list.Metrics) != 1 || *list.Metrics[0].Dimensions[0].Value != mine {
		t.Errorf("%+v, %v", out, err)
	}

	of := func(id string) []monitoringtypes.Dimension {
		return []monitoringtypes.Dimension{{Name: new("InstanceId"), Value: &id}}
	}
	statistics := func(id string, period int32) *monitoringtypes.GetMetricStatisticsInput {
		return &monitoringtypes.GetMetricStatisticsInput{
			Namespace: new("AWS/EC2"), MetricName: new("CPUUtilization"), Dimensions: of(id), StartTime: &begin, EndTime: &end, Period: &period,
			Statistics: []string{"Average", "Maximum", "SampleCount"},
		}
	}
	out, err = call("GetMetricStatistics", statistics(mine, 300))
	if got, ok := out.(*monitoringtypes.GetMetricStatisticsOutput); err != nil || !ok || len(got.Datapoints) != 2 ||
		*got.Datapoints[0].Average != 20 || *got.Datapoints[1].Maximum != 90 || *got.Datapoints[1].SampleCount != 5 || got.Datapoints[0].Sum != nil || *got.Datapoints[0].Unit != "Percent" {
		t.Errorf("%+v, %v", out, err)
	}
	for _, id := range []string{theirs, unmeasured} {
		out, err = call("GetMetricStatistics", statistics(id, 60))
		if got, ok := out.(*monitoringtypes.GetMetricStatisticsOutput); err != nil || !ok || len(got.Datapoints) != 0 {
			t.Errorf("%s: %+v, %v", id, out, err)
		}
	}
	query := func(change func(*monitoringtypes.GetMetricDataInput)) *monitoringtypes.GetMetricDataInput {
		in := &monitoringtypes.GetMetricDataInput{StartTime: &begin, EndTime: &end, MetricDataQueries: []monitoringtypes.MetricDataQuery{{
			Id: new("cpu"), MetricStat: &monitoringtypes.MetricStat{
				Metric: &monitoringtypes.Metric{Namespace: new("AWS/EC2"), MetricName: new("CPUUtilization"), Dimensions: of(mine)}, Period: new(int32(60)), Stat: new("Sum"),
			},
		}}}
		change(in)
		return in
	}
	out, err = call("GetMetricData", query(func(*monitoringtypes.GetMetricDataInput) {}))
	if got, ok := out.(*monitoringtypes.GetMetricDataOutput); err != nil || !ok || len(got.MetricDataResults) != 1 || len(got.MetricDataResults[0].Values) != 10 ||
		got.MetricDataResults[0].Values[0] != 90 || !got.MetricDataResults[0].Timestamps[9].Equal(begin) || *got.MetricDataResults[0].StatusCode != "Complete" {
		t.Errorf("%+v, %v", out, err)
	}
	for name, bad := range map[string]struct {
		action string
		in     any
		code   string
	}{
		"period":     {"GetMetricStatistics", statistics(mine, 90), model.CodeInvalidParameterValue},
		"no stats":   {"GetMetricStatistics", func() any { in := statistics(mine, 60); in.Statistics = nil; return in }(), "InvalidParameterCombination"},
		"percentile": {"GetMetricData", query(func(in *monitoringtypes.GetMetricDataInput) { in.MetricDataQueries[0].MetricStat.Stat = new("p99") }), model.CodeInvalidParameterValue},
		"no stat":    {"GetMetricData", query(func(in *monitoringtypes.GetMetricDataInput) { in.MetricDataQueries[0].MetricStat = nil }), model.CodeInvalidParameterValue},
		"twice": {"GetMetricData", query(func(in *monitoringtypes.GetMetricDataInput) {
			in.MetricDataQueries = append(in.MetricDataQueries, in.MetricDataQueries[0])
		}), model.CodeInvalidParameterValue},
		"backwards":  {"GetMetricData", query(func(in *monitoringtypes.GetMetricDataInput) { in.EndTime = &begin }), model.CodeInvalidParameterValue},
		"expression": {"GetMetricData", query(func(in *monitoringtypes.GetMetricDataInput) { in.MetricDataQueries[0].Expression = new("cpu*2") }), model.CodeUnsupportedOperation},
		"too many": {"GetMetricStatistics", func() any {
			in := statistics(mine, 60)
			in.StartTime = new(end.Add(-30 * time.Hour))
			return in
		}(), "InvalidParameterCombination"},
	} {
		if _, err := call(bad.action, bad.in); model.CodeOf(err) != bad.code {
			t.Errorf("%s: %v, want %s", name, err, bad.code)
		}
	}
}
