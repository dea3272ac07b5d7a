// Package user is the datapath that needs no root and no set-up: a userspace
// switch on gVisor's netstack, one stack per VPC, in a process of its own that
// outlives the daemon (Serve; control.Client is the daemon's side of it). Guests
// are attached by QEMU's stream sockets.
//
// What it does not do: ICMP beyond the VPC, and multicast. Frames of these kinds are dropped.
//
// It must never import the store, the API, a hypervisor or the daemon.
package user
