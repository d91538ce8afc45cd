// Command show prints settings of an environment, by a template of text/template
// over [config.Config]'s fields. It is how a shell script reads config/ENVIRONMENT.yaml
// by the rules that hold for synth:
//
//	go run ./internal/config/show staging '{{.Region}} {{.GitLab.Account}}'
package main

import (
	"fmt"
	"io"
	"os"
	"text/template"

	"gitlab-codedeploy/internal/config"
)

func main() {
	if err := show(os.Stdout, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func show(out io.Writer, arguments []string) error {
	if len(arguments) != 2 {
		return fmt.Errorf("got %d arguments, want the name of an environment and a template", len(arguments))
	}
	form, err := template.New("template").Parse(arguments[1] + "\n")
	if err != nil {
		return err
	}
	settings, err := config.Load("config", arguments[0])
	if err != nil {
		return err
	}
	return form.Execute(out, settings)
}
