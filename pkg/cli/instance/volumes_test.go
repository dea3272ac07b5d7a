package instance

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestBlockDevice(t *testing.T) {
	for text, want := range map[string]string{
		"/dev/sdf=8":      `{"DeviceName":"/dev/sdf","Ebs":{"VolumeSize":8}}`,
		"/dev/sdf=none":   `{"DeviceName":"/dev/sdf","NoDevice":""}`,
		"/dev/sda1=keep":  `{"DeviceName":"/dev/sda1","Ebs":{"DeleteOnTermination":false}}`,
		"xvdb=8,keep":     `{"DeviceName":"xvdb","Ebs":{"DeleteOnTermination":false,"VolumeSize":8}}`,
		"sdb=snapshot=s1": `{"DeviceName":"sdb","Ebs":{"SnapshotId":"s1"}}`,
		"sdb=8,encrypted,type=gp3,iops=4000,throughput=200": `{"DeviceName":"sdb","Ebs":{"Encrypted":true,"Iops":4000,"Throughput":200,"VolumeSize":8,"VolumeType":"gp3"}}`,
	} {
		m, err := blockDevice(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got, _ := json.Marshal(m); string(got) != want {
			t.Errorf("%s is %s, not %s", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"8":                 "must be DEVICE=GIB",
		"=8":                "must be DEVICE=GIB",
		"/dev/sdf=":         "must be DEVICE=GIB",
		"/dev/sdf=0":        "from 1 on",
		"/dev/sdf=8G":       "from 1 on",
		"/dev/sdf=much":     "no option is called",
		"/dev/sdf=8,":       "no option is called",
		"/dev/sdf=8,iops":   "no option is called",
		"/dev/sdf=8,iops=x": "iops is a number",
		"/dev/sdf=8,keep=1": "no option is called",
		"/dev/sdf=8,9":      "no option is called",
	} {
		if _, err := blockDevice(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, not %q", text, err, want)
		}
	}
}
