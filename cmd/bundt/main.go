// Command bundt is the command line of a bundt cloud.
package main

import (
	"os"

	"github.com/bundt/bundt/pkg/cli"
)

func main() { os.Exit(cli.Main()) }
