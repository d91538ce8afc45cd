// Command print writes a script of this project to stdout, with what it sources
// in it, so that one file is all that a host needs:
//
//	go run ./internal/script/print scripts/server/backup-gitlab.sh
package main

import (
	"fmt"
	"os"
	"strings"

	"gitlab-codedeploy/internal/script"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintf(os.Stderr, "got %d arguments, want the path of a script\n", len(os.Args)-1)
		os.Exit(2)
	}
	lines, err := script.Inline(".", os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("#!/usr/bin/env bash")
	fmt.Println(strings.Join(lines, "\n"))
}
