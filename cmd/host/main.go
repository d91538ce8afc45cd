//go:build unix

// Command host does GitLab's operations on the hosts, as root: SSM documents start it,
// and on an old server people do.
package main

import (
	"context"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"golang.org/x/term"

	"gitlab-codedeploy/internal/httpbody"
	"gitlab-codedeploy/internal/machine"
	"gitlab-codedeploy/internal/operation"
)

// version is set by the linker. So is rootVariable, by tests alone: the name of a
// variable with the folder that holds the host's files. Another one, whose name ends in
// _PAGE, has the address of the host's own page.
var (
	version      = "devel"
	rootVariable string
)

func main() {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM)
	go func() { cancel(stopped{(<-signals).(syscall.Signal)}) }()
	executable, err := os.Executable()
	if err != nil {
		executable = os.Args[0]
	}
	host := &machine.Machine{Runner: machine.System{}, Root: "/", Log: os.Stderr, Architecture: processors[runtime.GOARCH]}
	if rootVariable != "" {
		host.Root = filepath.Join("/", os.Getenv(rootVariable))
		host.Runner, host.Web = machine.System{Root: host.Root}, pageAt(os.Getenv(rootVariable+"_PAGE"))
	}
	os.Exit(program{
		machine: host,
		runs:    &operation.Runs{Machine: host, Program: executable, Home: os.Getenv("HOME"), Path: os.Getenv("PATH")},
		stdout:  os.Stdout, stderr: os.Stderr, root: os.Geteuid() == 0,
		stdin: os.Stdin, terminal: term.IsTerminal(int(os.Stdin.Fd())),
		aws: func(ctx context.Context, region string) (aws.Config, error) {
			account, err := config.LoadDefaultConfig(ctx, config.WithRegion(region))
			httpbody.OnlyRead(&account)
			return account, err
		},
	}.run(ctx, os.Args[1:]))
}

// processors are the names that "uname -m" has for Go's.
var processors = map[string]string{"amd64": "x86_64", "arm64": "aarch64"}

// pageAt is the way to the web for a host that has its own page at another address.
func pageAt(own string) http.RoundTripper {
	var dialer net.Dialer
	return &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == "localhost:80" && own != "" {
			address = own
		}
		return dialer.DialContext(ctx, network, address)
	}}
}
