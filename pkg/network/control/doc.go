// Package control keeps a datapath's switch in a process of its own, which
// outlives the daemon: Serve is that process's main, and Client the daemon's side
// of it, a network.Datapath. What moves the packets is a Fabric.
//
// It must never import the store, the API, a hypervisor or the daemon.
package control
