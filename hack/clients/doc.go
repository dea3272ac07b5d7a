// Package clients tests unmodified clients of AWS against a whole daemon with
// simulated machines. What they need on the host, beyond Go modules, is skipped
// when it is not there. There is no product logic here.
package clients
