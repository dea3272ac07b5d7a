// Package gateway is what a VPC's gateway does for its guests, whatever moves
// their packets: it checks configurations, answers DHCP and DNS, serves metadata,
// and joins connections of public addresses with guests. The datapaths in
// user/ and kernel/ share it.
//
// It must never import a datapath, the store, the API, a hypervisor or the daemon.
package gateway
