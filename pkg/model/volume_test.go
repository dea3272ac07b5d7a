package model

import "testing"

func TestVolumeKind(t *testing.T) {
	for name, tc := range map[string]struct {
		kind VolumeKind
		size int64
		want VolumeKind
		code string
	}{
		"default":               {VolumeKind{}, 8, VolumeKind{"gp3", 3000, 125}, ""},
		"small gp2":             {VolumeKind{Type: "gp2"}, 1, VolumeKind{"gp2", 100, 0}, ""},
		"large gp2":             {VolumeKind{Type: "gp2"}, 16384, VolumeKind{"gp2", 16000, 0}, ""},
		"gp2 again":             {VolumeKind{"gp2", 300, 0}, 100, VolumeKind{"gp2", 300, 0}, ""},
		"gp2 with others'":      {VolumeKind{"gp2", 301, 0}, 100, VolumeKind{}, CodeInvalidParameterCombination},
		"gp3 at its ratio":      {VolumeKind{"gp3", 4000, 1000}, 8, VolumeKind{"gp3", 4000, 1000}, ""},
		"gp3 over its ratio":    {VolumeKind{"gp3", 4001, 0}, 8, VolumeKind{}, CodeInvalidParameterValue},
		"gp3 least, one GiB":    {VolumeKind{"gp3", 3000, 0}, 1, VolumeKind{"gp3", 3000, 125}, ""},
		"throughput over ratio": {VolumeKind{"gp3", 3000, 751}, 100, VolumeKind{}, CodeInvalidParameterValue},
		"throughput too low":    {VolumeKind{"gp3", 3000, 124}, 100, VolumeKind{}, CodeInvalidParameterValue},
		"io1":                   {VolumeKind{"io1", 200, 0}, 4, VolumeKind{"io1", 200, 0}, ""},
		"io1 too small":         {VolumeKind{"io1", 100, 0}, 3, VolumeKind{}, CodeInvalidParameterValue},
		"io2 over its ratio":    {VolumeKind{"io2", 4001, 0}, 4, VolumeKind{}, CodeInvalidParameterValue},
		"io2 without":           {VolumeKind{Type: "io2"}, 4, VolumeKind{}, CodeMissingParameter},
		"io2 too many":          {VolumeKind{"io2", 256001, 0}, 1000, VolumeKind{}, CodeInvalidParameterValue},
		"st1":                   {VolumeKind{Type: "st1"}, 125, VolumeKind{"st1", 0, 0}, ""},
		"sc1 with iops":         {VolumeKind{"sc1", 1, 0}, 125, VolumeKind{}, CodeInvalidParameterCombination},
		"standard":              {VolumeKind{Type: "standard"}, 1024, VolumeKind{"standard", 0, 0}, ""},
		"standard too large":    {VolumeKind{Type: "standard"}, 1025, VolumeKind{}, CodeInvalidParameterValue},
		"unknown":               {VolumeKind{Type: "tape"}, 1, VolumeKind{}, "UnknownVolumeType"},
		"gp3 of all sizes":      {VolumeKind{"gp3", 80000, 2000}, 65536, VolumeKind{"gp3", 80000, 2000}, ""},
		"gp3 too many":          {VolumeKind{"gp3", 80001, 0}, 1000, VolumeKind{}, CodeInvalidParameterValue},
		"throughput too high":   {VolumeKind{"gp3", 16000, 2001}, 100, VolumeKind{}, CodeInvalidParameterValue},
		"gp2 too large":         {VolumeKind{Type: "gp2"}, 16385, VolumeKind{}, CodeInvalidParameterValue},
		"nothing":               {VolumeKind{}, 0, VolumeKind{}, CodeInvalidParameterValue},
	} {
		got, err := tc.kind.Complete(tc.size)
		if CodeOf(err) != tc.code || err == nil && got != tc.want {
			t.Errorf("%s: %+v, %v; want %+v, %q", name, got, err, tc.want, tc.code)
		}
	}
}

func TestDeviceNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"/dev/sda1": true, "/dev/sdf": true, "sdf": true, "/dev/xvdf": true, "xvdba": true, "/dev/sdf15": true, "/dev/hda": true,
		"": false, "/dev/": false, "/dev/sd": false, "/dev/sdf0": false, "/dev/sdf100": false, "/dev/../sdf": false, "/dev/sdF": false, "C:": false, "/dev/sdf\n": false,
	} {
		if err := CheckDevice(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
	if !SameDevice("/dev/sdf", "sdf") || SameDevice("/dev/sdf", "/dev/sdg") {
		t.Error("places are confused")
	}
}

func TestVolumeLimits(t *testing.T) {
	ssd := func(ops, bytes int64) IOLimits {
		return IOLimits{Operations: Rate{PerSecond: ops}, Bytes: Rate{PerSecond: bytes * mib}, OperationBytes: ssdOperation}
	}
	burst := ssd(100, 128)
	burst.Operations.Burst, burst.Operations.BurstSeconds = 3000, 1800
	for name, tc := range map[string]struct {
		kind VolumeKind
		size int64
		want IOLimits
	}{
		"gp3":          {VolumeKind{}, 8, ssd(3000, 125)},
		"fast gp3":     {VolumeKind{"gp3", 80000, 2000}, 1000, ssd(80000, 2000)},
		"small gp2":    {VolumeKind{Type: "gp2"}, 8, burst},
		"large gp2":    {VolumeKind{Type: "gp2"}, 1000, ssd(3000, 250)},
		"little io1":   {VolumeKind{"io1", 400, 0}, 8, ssd(400, 100)},
		"io1":          {VolumeKind{"io1", 32000, 0}, 1000, ssd(32000, 500)},
		"much io1":     {VolumeKind{"io1", 64000, 0}, 2000, ssd(64000, 1000)},
		"io2":          {VolumeKind{"io2", 4000, 0}, 8, ssd(4000, 1000)},
		"much io2":     {VolumeKind{"io2", 256000, 0}, 1000, ssd(256000, 4000)},
		"st1 of 1 TiB": {VolumeKind{Type: "st1"}, 1024, IOLimits{Rate{PerSecond: 500}, Rate{40 * mib, 250 * mib, 4194}, hddOperation}},
		"huge st1":     {VolumeKind{Type: "st1"}, 16384, IOLimits{Rate{PerSecond: 500}, Rate{PerSecond: 500 * mib}, hddOperation}},
		"huge sc1":     {VolumeKind{Type: "sc1"}, 16384, IOLimits{Rate{PerSecond: 250}, Rate{192 * mib, 250 * mib, 67108}, hddOperation}},
		"standard":     {VolumeKind{Type: "standard"}, 8, IOLimits{Rate{PerSecond: 200}, Rate{PerSecond: 90 * mib}, hddOperation}},
	} {
		kind, err := tc.kind.Complete(tc.size)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := kind.Limits(tc.size); got != tc.want {
			t.Errorf("%s: %+v, want %+v", name, got, tc.want)
		}
	}
}
