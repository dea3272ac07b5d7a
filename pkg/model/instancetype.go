package model

import (
	"slices"
	"strings"
)

// InstanceType is a machine size.
type InstanceType struct {
	Name      string
	VCPUs     int
	MemoryMiB int64
	Archs     []Arch
	Burstable bool
}

var x86 = []Arch{X8664, I386}
var arm = []Arch{ARM64}
var anyArch = []Arch{X8664, ARM64, I386}

// instanceTypes are those EC2 types that fit small hosts, with EC2's sizes, and
// bundt's own "b1" family for guests that need almost nothing.
var instanceTypes = []InstanceType{
	{"b1.pico", 1, 64, anyArch, true},
	{"b1.nano", 1, 128, anyArch, true},
	{"b1.micro", 1, 256, anyArch, true},
	{"t1.micro", 1, 627, x86, false},
	{"m1.small", 1, 1740, x86, false},
	{"t2.nano", 1, 512, x86, true},
	{"t2.micro", 1, 1024, x86, true},
	{"t2.small", 1, 2048, x86, true},
	{"t2.medium", 2, 4096, x86, true},
	{"t3.nano", 2, 512, x86, true},
	{"t3.micro", 2, 1024, x86, true},
	{"t3.small", 2, 2048, x86, true},
	{"t3.medium", 2, 4096, x86, true},
	{"t3.large", 2, 8192, x86, true},
	{"t4g.nano", 2, 512, arm, true},
	{"t4g.micro", 2, 1024, arm, true},
	{"t4g.small", 2, 2048, arm, true},
	{"t4g.medium", 2, 4096, arm, true},
	{"t4g.large", 2, 8192, arm, true},
	{"m5.large", 2, 8192, x86, false},
	{"m5.xlarge", 4, 16384, x86, false},
	{"m6g.medium", 1, 4096, arm, false},
	{"m6g.large", 2, 8192, arm, false},
	{"c5.large", 2, 4096, x86, false},
	{"c5.xlarge", 4, 8192, x86, false},
	{"r5.large", 2, 16384, x86, false},
}

// DefaultInstanceType is what RunInstances uses when no type is given, as on EC2.
const DefaultInstanceType = "m1.small"

// InstanceTypes returns every instance type.
func InstanceTypes() []InstanceType { return slices.Clone(instanceTypes) }

// typeIndex is where each type is in instanceTypes.
var typeIndex = func() map[string]int {
	index := make(map[string]int, len(instanceTypes))
	for i, t := range instanceTypes {
		index[t.Name] = i
	}
	return index
}()

// InstanceTypeByName returns the type of that name.
func InstanceTypeByName(name string) (InstanceType, bool) {
	i, ok := typeIndex[name]
	if !ok {
		return InstanceType{}, false
	}
	return instanceTypes[i], true
}

// DefaultCredits is the CPU credit option of an instance of this type whose launch
// names none, "" for a type without CPU credits.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/burstable-performance-instances.html
func (t InstanceType) DefaultCredits() string {
	switch {
	case !t.Burstable:
		return ""
	case strings.HasPrefix(t.Name, "t2."):
		return CreditsStandard
	}
	return CreditsUnlimited
}

// EbsOptimizable reports whether EC2 has the option EbsOptimized for the type.
func (t InstanceType) EbsOptimizable() bool {
	return !slices.ContainsFunc([]string{"t1.", "t2.", "m1."}, func(family string) bool { return strings.HasPrefix(t.Name, family) })
}

// Supports reports whether the type can run images of architecture a.
func (t InstanceType) Supports(a Arch) bool { return slices.Contains(t.Archs, a) }
