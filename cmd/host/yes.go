//go:build unix

package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// yesNo is a flag of yes or no, in words: a document's parameter stands there.
type yesNo bool

func (y *yesNo) Set(text string) error {
	switch text {
	case "yes", "no":
		*y = text == "yes"
		return nil
	}
	return errors.New("want yes or no")
}

func (y *yesNo) String() string {
	if *y {
		return "yes"
	}
	return "no"
}

func (*yesNo) Type() string { return "yes|no" }

// asking are the flags of a command that asks before it changes anything.
type asking struct{ check, yes yesNo }

func (a *asking) add(flags *pflag.FlagSet, check string) {
	flags.Var(&a.check, "check", check)
	flags.Var(&a.yes, "yes", "do not ask: needed without a terminal")
}

// canAsk refuses what nobody can answer.
func (p program) canAsk(a asking) error {
	if !bool(a.yes) && !bool(a.check) && !p.terminal {
		return errors.New("there is no terminal to ask on: look with --check yes, then pass --yes yes")
	}
	return nil
}

// confirm asks a person. Its error says that there is no consent.
func (p program) confirm(a asking, question string) error {
	if a.yes {
		return nil
	}
	fmt.Fprintf(p.stderr, "%s [y/N] ", question)
	if !strings.HasPrefix(strings.ToLower(p.readLine()), "y") {
		return errors.New("not confirmed: nothing was changed")
	}
	return nil
}

// readLine reads no more than a line: what follows answers the next question.
func (p program) readLine() string {
	var line []byte
	var one [1]byte
	for {
		n, err := p.stdin.Read(one[:])
		if n == 1 && one[0] != '\n' {
			line = append(line, one[0])
		} else if n == 1 || err != nil {
			return string(line)
		}
	}
}
