package model

import "testing"

func TestZoneID(t *testing.T) {
	for region, want := range map[string]string{
		"us-east-1": "use1-az1", "ap-southeast-2": "apse2-az1", "us-gov-west-1": "usgw1-az1", "local-1": "local1-az1", "home": "home-az1", "eu--1": "eu1-az1",
	} {
		if got := ZoneID(region); got != want {
			t.Errorf("ZoneID(%q) = %q, want %q", region, got, want)
		}
	}
}
