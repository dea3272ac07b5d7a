// Package browser has the tests of the web console in a real browser: Chromium, without
// a window, against a daemon with simulated machines. It holds no product logic.
package browser
