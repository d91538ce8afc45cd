// Command show prints the settings of an environment as one JSON object, with
// the names of [config.Config]'s fields. It is how the shell scripts of
// scripts/ops read config/ENVIRONMENT.yaml by the rules that hold for synth:
//
//	go run ./internal/config/show ENVIRONMENT
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"gitlab-codedeploy/internal/config"
)

func main() {
	if err := show(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func show(arguments []string) error {
	if len(arguments) != 1 {
		return fmt.Errorf("got %d arguments, want the name of an environment", len(arguments))
	}
	settings, err := config.Load("config", arguments[0])
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(settings)
}
