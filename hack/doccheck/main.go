// Command doccheck keeps the documents' commands true. Its test checks each
// bundt, bundtd and make command of every ```sh block against the programs
// themselves. The blocks marked <!-- test:story --> are a script:
//
//	go run ./hack/doccheck story README.md
package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) != 3 || os.Args[1] != "story" {
		fmt.Fprintln(os.Stderr, "usage: doccheck story FILE")
		os.Exit(2)
	}
	text, err := os.ReadFile(os.Args[2])
	if err == nil {
		var script string
		if script, err = story(os.Args[2], string(text)); err == nil {
			fmt.Print(script)
			return
		}
	}
	fmt.Fprintln(os.Stderr, "doccheck:", err)
	os.Exit(1)
}
