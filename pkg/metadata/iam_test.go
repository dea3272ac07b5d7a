package metadata

import (
	"encoding/json"
	"maps"
	"testing"
	"time"
)

func TestIAM(t *testing.T) {
	at := time.Date(2026, 11, 24, 5, 0, 0, 5000, time.UTC)
	good := Profile{
		ARN: "arn:aws:iam::123456789012:instance-profile/app", ID: "AIPA1", Role: "app", Updated: at,
		Credentials: Credentials{AccessKeyID: "ASIA1", Secret: "s", Token: "t", Expires: at.Add(time.Hour)},
	}
	refused, gone := good, good
	refused.Problem, refused.Credentials = "EC2 cannot assume the role", Credentials{}
	gone.Role, gone.Problem, gone.Credentials = "", "no such profile", Credentials{}
	info := map[string]string{"Code": "Success", "LastUpdated": "2026-11-24T05:00:00Z", "InstanceProfileArn": good.ARN, "InstanceProfileId": "AIPA1"}
	for name, test := range map[string]struct {
		profile     *Profile
		info, roles any
		credentials map[string]string
	}{
		"none": {nil, nil, nil, nil},
		"good": {&good, info, "app", map[string]string{
			"Code": "Success", "LastUpdated": "2026-11-24T05:00:00Z", "Type": "AWS-HMAC", "AccessKeyId": "ASIA1", "SecretAccessKey": "s", "Token": "t",
			"Expiration": "2026-11-24T06:00:00Z",
		}},
		"refused": {&refused, info, "app", map[string]string{
			"Code": "AssumeRoleUnauthorizedAccess", "LastUpdated": "2026-11-24T05:00:00Z", "Message": "EC2 cannot assume the role",
		}},
		"gone": {&gone, map[string]string{"Code": "InstanceProfileNotFound", "LastUpdated": "2026-11-24T05:00:00Z", "Message": "no such profile"}, nil, nil},
	} {
		d := testDocument()
		d.Profile = test.profile
		f := newFixture(d)
		check := func(path string, want any) {
			t.Helper()
			got := f.do("GET", "/latest/meta-data/iam/"+path)
			switch want := want.(type) {
			case nil:
				if got.Code != 404 {
					t.Errorf("%s: %s is %d %s", name, path, got.Code, got.Body)
				}
			case string:
				if got.Body.String() != want {
					t.Errorf("%s: %s is %s, want %s", name, path, got.Body, want)
				}
			case map[string]string:
				var answer map[string]string
				if err := json.Unmarshal(got.Body.Bytes(), &answer); err != nil || !maps.Equal(answer, want) {
					t.Errorf("%s: %s is %s, want %v", name, path, got.Body, want)
				}
			}
		}
		check("info", test.info)
		check("security-credentials/", test.roles)
		if test.credentials == nil {
			check("security-credentials/app", nil)
		} else {
			check("security-credentials/app", test.credentials)
		}
	}
}
