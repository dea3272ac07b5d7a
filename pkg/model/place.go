package model

import (
	"regexp"
	"strings"
)

// ZoneID is the id of a region's only availability zone. EC2's ids name the same
// zone to every account, and begin with the region's short form: us-east-1's first
// is use1-az1.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-regions-availability-zones.html
func ZoneID(region string) string {
	parts := strings.Split(region, "-")
	last := len(parts) - 1
	short := parts[0]
	for i := 1; i < last; i++ {
		short += direction(parts[i])
	}
	if last > 0 {
		short += parts[last]
	}
	return short + "-az1"
}

// direction shortens a part of a region's name: southeast is se, east e.
func direction(word string) string {
	for _, first := range []string{"north", "south"} {
		if rest, ok := strings.CutPrefix(word, first); ok && rest != "" {
			return first[:1] + rest[:1]
		}
	}
	return word[:min(1, len(word))]
}

// Region is another region than this cloud's own.
type Region struct {
	Name     string
	Endpoint string // HOST:PORT of EC2's API there
}

var regionName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}[a-z0-9]$`)

// ValidRegion reports whether a region can have this name.
func ValidRegion(name string) bool { return regionName.MatchString(name) }
