package main

import (
	"embed"
	"fmt"
	"path"
	"slices"
	"strings"
)

//go:embed actions.txt sts/actions.txt iam/actions.txt ssm/actions.txt monitoring/actions.txt
var actionLists embed.FS

// service is an AWS service that there are types for.
type service struct {
	name      string // in -service, and of the package NAMEtypes
	title     string // in comments
	version   string // of its API
	dir       string // of actions.txt and model.json, below hack/ec2gen
	protocol  string // as the model calls it
	item      string // element of a list's items, if the model names none
	reference string // start of the address of an action's or structure's page
	// clientFile is the file of pkg/client that the Go client's methods are in; "" for none.
	clientFile string
}

var services = []service{
	{"ec2", "EC2", "2016-11-15", "", "ec2", "item", "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_", "operations_gen.go"},
	{"sts", "STS", "2011-06-15", "sts", "query", "member", "https://docs.aws.amazon.com/STS/latest/APIReference/API_", "sts_gen.go"},
	{"iam", "IAM", "2010-05-08", "iam", "query", "member", "https://docs.aws.amazon.com/IAM/latest/APIReference/API_", "iam_gen.go"},
	{"ssm", "SSM", "2014-11-06", "ssm", "json", "member", "https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_", ""},
	{"monitoring", "CloudWatch", "2010-08-01", "monitoring", "query", "member", "https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_", "monitoring_gen.go"},
}

func serviceByName(name string) (service, error) {
	i := slices.IndexFunc(services, func(s service) bool { return s.name == name })
	if i < 0 {
		return service{}, fmt.Errorf("unknown service %q: want ec2, sts, iam, ssm or monitoring", name)
	}
	return services[i], nil
}

// pkg is the name of the package for the types.
func (s service) pkg() string { return s.name + "types" }

// source is where the service's committed model.json comes from.
func (s service) source() string {
	return fmt.Sprintf("github.com/aws/aws-sdk-go@v1.55.8/models/apis/%s/%s/api-2.json", s.name, s.version)
}

// actions returns the names in the service's actions.txt, sorted.
func (s service) actions() []string {
	list, err := actionLists.ReadFile(path.Join(s.dir, "actions.txt"))
	if err != nil {
		panic(err) // embedded above
	}
	names := strings.Fields(string(list))
	slices.Sort(names)
	return slices.Compact(names)
}
