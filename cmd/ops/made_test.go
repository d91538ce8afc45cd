package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/calls"
	"gitlab-codedeploy/internal/doctor"
	"gitlab-codedeploy/internal/preflight"
	"gitlab-codedeploy/internal/rights"
	"gitlab-codedeploy/internal/sample"
)

// made are the calls that commands have made in the tests of this package, by command and account, with what IAM wants for them.
var made struct {
	sync.Mutex
	calls map[string]bool
}

func noteMade(ctx context.Context, side account.Side, call calls.Call) {
	command, _ := ctx.Value(running{}).(string)
	actions, _ := rights.Actions(side, call.Name())
	made.Lock()
	defer made.Unlock()
	if made.calls == nil {
		made.calls = map[string]bool{}
	}
	for _, name := range append([]string{call.Name()}, actions...) {
		made.calls[madeKey(command, side, name)] = true
	}
}

func madeKey(command string, side account.Side, call string) string {
	return fmt.Sprintf("%s in account %s: %s", command, side, call)
}

// elsewhere are rights that the tests of this package do not make, or not by a call of their own, and why they are declared.
var elsewhere = map[string]func(account.Side) []string{
	// The tests of these packages compare their lists with what they ask.
	"doctor": func(side account.Side) []string { return doctor.Calls()[side] },
	"sample": func(account.Side) []string { return sample.Calls },
	"deploy": func(side account.Side) []string {
		if side == account.GitLab {
			return preflight.Actions(preflight.A)
		}
		// A creation that failed is cleared away by one code in both accounts, and the tests let it fail in A.
		return append(preflight.Actions(preflight.B), "cloudformation:UpdateTerminationProtection", "cloudformation:DeleteStack",
			"cloudformation:DescribeStackEvents", "cloudformation:ListStackResources")
	},
	// One code with connect, which ends a session that cannot be started.
	"forward": func(account.Side) []string { return []string{"ssm:TerminateSession"} },
	// No call: with it S3 says that an object is not there, and not that nobody may ask.
	"rollback": listsOnly, "promote": listsOnly, "pause": listsOnly, "resume": listsOnly,
}

func listsOnly(account.Side) []string { return []string{"s3:ListBucket"} }

// neverMade are the calls that commands declare, and that none of them makes in any test: rights that nobody needs, or a
// command that no test knows whole.
func neverMade(commands []declared) []string {
	made.Lock()
	defer made.Unlock()
	var never []string
	for _, d := range commands {
		for side, declared := range d.calls {
			for _, call := range declared {
				name, _, _ := strings.Cut(call, " ")
				if known := elsewhere[d.command.Name()]; known != nil && slices.Contains(known(side), call) {
					continue
				}
				if key := madeKey(d.command.Name(), side, name); !made.calls[key] {
					never = append(never, key)
				}
			}
		}
	}
	slices.Sort(never)
	return slices.Compact(never)
}

// TestMain adds up what all tests have made; a part of them cannot tell.
func TestMain(m *testing.M) {
	status := m.Run()
	if whole := flag.Lookup("test.run").Value.String() == "" && flag.Lookup("test.skip").Value.String() == "" && flag.Lookup("test.list").Value.String() == ""; whole && status == 0 {
		for _, right := range neverMade((&program{}).commands()) {
			fmt.Fprintln(os.Stderr, "declared, and made in no test:", right)
			status = 1
		}
	}
	os.Exit(status)
}

func TestRightThatNobodyMakesIsFound(t *testing.T) {
	noteMade(context.WithValue(t.Context(), running{}, "a-test"), account.GitLab, calls.Call{Service: "s3", Operation: "ListObjectsV2"})
	never := neverMade([]declared{{&cobra.Command{Use: "a-test"}, inGitLab("s3:ListObjectsV2", "s3:ListBucket", "s3:PutObject", "ssm:SendCommand document:keys")}})
	assert.Equal(t, []string{"a-test in account gitlab: s3:PutObject", "a-test in account gitlab: ssm:SendCommand"}, never, "by the call's name, or by what IAM wants for it")
}
