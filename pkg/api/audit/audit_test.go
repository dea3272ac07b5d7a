package audit_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/audit"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/api/iamtypes"
	"github.com/bundt/bundt/pkg/model"
)

func open(t *testing.T, o audit.Options) (*audit.Log, string) {
	t.Helper()
	o.Path = filepath.Join(t.TempDir(), "audit.log")
	o.Region = "test-1"
	o.Now = func() time.Time { return time.Unix(1000, 0) }
	l, err := audit.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, o.Path
}

func lines(t *testing.T, path string) (out []map[string]any) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		var line map[string]any
		if err := json.Unmarshal(s.Bytes(), &line); err != nil {
			t.Fatalf("%s: %v", s.Bytes(), err)
		}
		out = append(out, line)
	}
	return out
}

func call(t *testing.T, l *audit.Log, action string, in, out any, err error) {
	t.Helper()
	c := &api.Call{
		Action: action, Input: in, RequestID: "r-1", Origin: api.Origin{Address: netip.MustParseAddr("192.0.2.7"), UserAgent: "test"},
		Principal: api.Principal{AccountID: "111122223333", Identity: model.Identity{AccountID: "111122223333", User: "alice", Path: "/", ID: "AIDA1", AccessKeyID: "AKIA1"}},
	}
	got, gotErr := l.Intercept(t.Context(), c, func(context.Context, *api.Call) (any, error) { return out, err })
	if got != out || !errors.Is(gotErr, err) {
		t.Fatalf("the call's outcome was changed: %v %v", got, gotErr)
	}
}

func TestLines(t *testing.T) {
	l, path := open(t, audit.Options{})
	secret := "a-very-secret-thing"
	call(t, l, "DescribeInstances", &ec2types.DescribeInstancesInput{}, nil, nil) // reads are not written
	call(t, l, "RunInstances", &ec2types.RunInstancesInput{ImageId: new("ami-1"), UserData: &secret, MinCount: new(int32(1))},
		&ec2types.RunInstancesOutput{ReservationId: new("r-1")}, nil)
	call(t, l, "CreateAccessKey", &iamtypes.CreateAccessKeyInput{}, &iamtypes.CreateAccessKeyOutput{AccessKey: &iamtypes.AccessKey{AccessKeyId: new("AKIA2"), SecretAccessKey: &secret}}, nil)
	call(t, l, "CreateKeyPair", &ec2types.CreateKeyPairInput{KeyName: new("k")}, &ec2types.CreateKeyPairOutput{KeyMaterial: &secret}, nil)
	call(t, l, "StopInstances", &ec2types.StopInstancesInput{InstanceIds: []string{"i-1"}}, nil, model.Errorf(api.CodeUnauthorizedOperation, "No. Encoded authorization failure message: %s", secret))
	call(t, l, "DescribeImages", &ec2types.DescribeImagesInput{}, nil, model.Errorf(api.CodeUnauthorizedOperation, "No."))
	call(t, l, "CreateLaunchTemplate", &ec2types.CreateLaunchTemplateInput{LaunchTemplateData: &ec2types.RequestLaunchTemplateData{UserData: &secret}}, nil, nil)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(data), secret) {
		t.Errorf("a secret was written: %s", data)
	}
	got := lines(t, path)
	var names []string
	for _, line := range got {
		names = append(names, line["eventName"].(string))
	}
	if s := strings.Join(names, " "); s != "RunInstances CreateAccessKey CreateKeyPair StopInstances DescribeImages CreateLaunchTemplate" {
		t.Fatal(s)
	}
	run := got[0]
	who := run["userIdentity"].(map[string]any)
	if who["type"] != "IAMUser" || who["arn"] != "arn:aws:iam::111122223333:user/alice" || who["accessKeyId"] != "AKIA1" ||
		run["eventSource"] != "ec2.amazonaws.com" || run["sourceIPAddress"] != "192.0.2.7" || run["requestID"] != "r-1" || run["awsRegion"] != "test-1" ||
		run["requestParameters"].(map[string]any)["imageId"] != "ami-1" || run["responseElements"].(map[string]any)["reservationId"] != "r-1" {
		t.Errorf("%v", run)
	}
	if got[1]["eventSource"] != "iam.amazonaws.com" || got[3]["errorCode"] != api.CodeUnauthorizedOperation || got[4]["readOnly"] != true {
		t.Errorf("%v\n%v\n%v", got[1], got[3], got[4])
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
}

func TestBounds(t *testing.T) {
	l, path := open(t, audit.Options{MaxBytes: 4000, Keep: 2})
	long := strings.Repeat("ü", 100_000)
	for range 40 {
		call(t, l, "CreateImage", &ec2types.CreateImageInput{Name: &long, InstanceId: new("i-1")}, nil, nil)
	}
	total := 0
	for _, name := range []string{path, path + ".1", path + ".2"} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > 4000 {
			t.Errorf("%s has %d bytes", name, info.Size())
		}
		total += len(lines(t, name))
	}
	if total < 3 {
		t.Errorf("%d lines", total)
	}
	if _, err := os.Stat(path + ".3"); err == nil {
		t.Error("more old files than are to be kept")
	}
}
