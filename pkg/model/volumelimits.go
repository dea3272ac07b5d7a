package model

// Rate is how much a disk may do in a second. The zero Rate sets no bound.
type Rate struct {
	PerSecond int64 `json:"perSecond,omitempty"`
	// Burst is what a disk may do instead as long as it has credit: what it did not
	// use of PerSecond, up to BurstSeconds of Burst. 0 is no burst.
	Burst        int64 `json:"burst,omitempty"`
	BurstSeconds int64 `json:"burstSeconds,omitempty"`
}

// IOLimits is what a disk may do: reads and writes together, as EBS counts them.
type IOLimits struct {
	Operations Rate `json:"operations,omitzero"`
	Bytes      Rate `json:"bytes,omitzero"`
	// OperationBytes is the size of the largest request that is one operation; a
	// larger one counts as several. 0: every request is one.
	OperationBytes int64 `json:"operationBytes,omitempty"`
}

const (
	mib = 1 << 20
	// EBS counts requests of disks without moving parts by 256 KiB, of the others by 1 MiB.
	// https://docs.aws.amazon.com/ebs/latest/userguide/ebs-io-characteristics.html
	ssdOperation = 256 << 10
	hddOperation = mib

	gp2BurstIOPS    = 3000
	gp2BurstSeconds = 1800 // 5.4 million credits
	gp2SmallGiB     = 170  // up to which gp2 has the lower throughput
)

// Limits is what a volume of this kind and size may do. The kind is a complete one.
// https://docs.aws.amazon.com/ebs/latest/userguide/ebs-volume-types.html
func (k VolumeKind) Limits(sizeGiB int64) IOLimits {
	l := IOLimits{Operations: Rate{PerSecond: k.IOPS}, OperationBytes: ssdOperation}
	switch k.Type {
	case "gp3":
		l.Bytes.PerSecond = k.Throughput * mib
	case "gp2":
		if k.IOPS < gp2BurstIOPS {
			l.Operations.Burst, l.Operations.BurstSeconds = gp2BurstIOPS, gp2BurstSeconds
		}
		l.Bytes.PerSecond = 250 * mib
		if sizeGiB <= gp2SmallGiB {
			l.Bytes.PerSecond = 128 * mib
		}
	case "io1":
		// 256 KiB for each of the first operations, up to 500 MiB; 16 KiB when there are many.
		l.Bytes.PerSecond = max(min(k.IOPS*ssdOperation, 500*mib), min(k.IOPS*16<<10, 1000*mib))
	case "io2":
		l.Bytes.PerSecond = min(k.IOPS*ssdOperation, 4000*mib)
	case "st1":
		l = hddLimits(sizeGiB, 40, 250, 500)
	case "sc1":
		l = hddLimits(sizeGiB, 12, 80, 250)
	case "standard":
		l = IOLimits{Operations: Rate{PerSecond: 200}, Bytes: Rate{PerSecond: 90 * mib}, OperationBytes: hddOperation}
	}
	return l
}

// hddLimits are those of a type whose throughput goes with its size: so many MiB/s
// for each TiB, more in a burst, and not more than most. The credit for bursts is as
// many bytes as the volume has.
func hddLimits(sizeGiB, base, burst, most int64) IOLimits {
	of := func(perTiB int64) int64 { return min(sizeGiB*perTiB*mib>>10, most*mib) }
	l := IOLimits{Operations: Rate{PerSecond: most}, Bytes: Rate{PerSecond: of(base)}, OperationBytes: hddOperation}
	if b := of(burst); b > l.Bytes.PerSecond {
		l.Bytes.Burst, l.Bytes.BurstSeconds = b, (sizeGiB<<30)/b
	}
	return l
}
