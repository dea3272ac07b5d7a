// Command bundtd is bundt's node daemon.
package main

import (
	"os"

	"github.com/bundt/bundt/pkg/daemon"
)

func main() { os.Exit(daemon.Main(os.Args[1:])) }
