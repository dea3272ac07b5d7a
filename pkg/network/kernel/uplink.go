package kernel

type uplink struct{}
