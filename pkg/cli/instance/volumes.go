package instance

import (
	"strconv"
	"strings"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/failure"
)

// volumeHelp says what --volume takes.
const volumeHelp = `--volume DEVICE=GIB gives the instance another volume, or one of the image's in another
size. More about it follows after commas: encrypted, type=TYPE, iops=NUMBER and
throughput=MIBPS as bundt volume create has them, snapshot=SNAPSHOT for what it begins
with (the size may then be left out), and keep for a volume that stays when the
instance is terminated. --volume DEVICE=none leaves out a volume of the image.`

// volumes are the storage mappings that differ from the image's.
func (o *Parameters) volumes() (mappings []ec2types.BlockDeviceMapping, err error) {
	for _, v := range o.Volumes {
		m, err := blockDevice(v)
		if err != nil {
			return nil, err
		}
		mappings = append(mappings, m)
	}
	return mappings, nil
}

// blockDevice reads DEVICE=GIB[,OPTION…].
func blockDevice(text string) (m ec2types.BlockDeviceMapping, err error) {
	device, rest, found := strings.Cut(text, "=")
	if device == "" || !found || rest == "" {
		return m, failure.Usagef("--volume %q: must be DEVICE=GIB, as in /dev/sdf=8, and what else there is to say after commas", text)
	}
	m.DeviceName = &device
	if rest == "none" {
		m.NoDevice = new("")
		return m, nil
	}
	m.Ebs = &ec2types.EbsBlockDevice{}
	for at, option := range strings.Split(rest, ",") {
		if at == 0 && option != "" && !strings.Contains(option, "=") && option[0] >= '0' && option[0] <= '9' {
			option = "size=" + option
		}
		if problem := setVolumeOption(m.Ebs, option); problem != "" {
			return m, failure.Usagef("--volume %q: %s", text, problem)
		}
	}
	return m, nil
}

// setVolumeOption adds an option to a mapping, or says what is wrong with it.
func setVolumeOption(ebs *ec2types.EbsBlockDevice, option string) (problem string) {
	name, value, valued := strings.Cut(option, "=")
	number := func(to **int32, what string) string {
		n, err := strconv.ParseInt(value, 10, 32)
		if err != nil || n < 1 {
			return what + " is a number from 1 on, not " + strconv.Quote(value)
		}
		*to = new(int32(n))
		return ""
	}
	switch {
	case name == "encrypted" && !valued:
		ebs.Encrypted = new(true)
	case name == "keep" && !valued:
		ebs.DeleteOnTermination = new(false)
	case value == "":
		return "no option is called " + strconv.Quote(option) + "; there are GIB, type=, iops=, throughput=, snapshot=, encrypted and keep"
	case name == "size":
		return number(&ebs.VolumeSize, "the size in GiB")
	case name == "iops":
		return number(&ebs.Iops, name)
	case name == "throughput":
		return number(&ebs.Throughput, name)
	case name == "type":
		ebs.VolumeType = &value
	case name == "snapshot":
		ebs.SnapshotId = &value
	default:
		return "no option is called " + strconv.Quote(option) + "; there are GIB, type=, iops=, throughput=, snapshot=, encrypted and keep"
	}
	return ""
}
