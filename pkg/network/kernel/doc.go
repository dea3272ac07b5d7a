// Package kernel is the datapath that needs root: a network namespace per VPC,
// so that VPCs with the same addresses live side by side, guests on routed taps
// whose open file QEMU gets, security groups as nftables sets and connection
// tracking. The kernel moves the packets between guests whatever happens to bundt's
// processes; a switch in a process of its own (Serve, by pkg/network/control) sets
// it up, answers DHCP and DNS, and serves metadata and public addresses.
//
// Everything it makes on the host has the datapath's name in its own: namespaces,
// and the devices and the nftables table of the way out.
//
// It must never import the store, the API, a hypervisor or the daemon.
package kernel
