// Package console owns the web console: pages that the daemon renders, and the few
// assets that they need. It is one more client of the action table: what a page shows
// and what a button does are calls of the dispatcher, made as whoever signed in, so that
// authorisation, quotas, throttling and the audit log are those of every other client.
//
// # Live pages
//
// A page's address answers a browser with the whole page, and an EventSource, which
// accepts text/event-stream, with the page's main part, again each time that it has
// changed. Scripts only put that into place: everything works without them, too.
//
// # Security
//
// Nothing of a page comes from another host and nothing in it is inline code: the
// Content-Security-Policy allows this origin's files only. Sessions are cookies that
// scripts cannot read and other sites cannot send (HttpOnly, SameSite=Strict); requests
// that change something are refused from other origins besides. A name in the Host
// header that is neither an address nor localhost is refused without TLS, as it may be
// an attacker's that was pointed here.
//
// It may import the action table with its types, pkg/auth, pkg/model and pkg/version:
// never the use cases, the store or a driver.
package console
