package emulator

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"gitlab-codedeploy/test/e2e/childprocess"
)

// motoLimit is how long moto may take to answer; it takes half a second.
const motoLimit = 60 * time.Second

// startMoto starts the emulated AWS on a loopback port (0: any free one) and
// returns when it answers at the returned endpoint.
//
// The port is opened here and handed over as descriptor 3, the way moto's web
// server (Werkzeug) gets it from its own reloader. So a port that is taken is
// known at once, and no other program can take it in between.
func startMoto(ctx context.Context, root, log string, port int, detached bool) (*childprocess.Process, string, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:"+strconv.Itoa(port))
	if err != nil {
		return nil, "", fmt.Errorf("port %d (EMULATOR_PORT) cannot be used: %w", port, err)
	}
	port = listener.Addr().(*net.TCPAddr).Port
	socket, err := listener.(*net.TCPListener).File()
	listener.Close() // the duplicate in socket stays open
	if err != nil {
		return nil, "", err
	}
	defer socket.Close()

	moto, err := childprocess.Start(childprocess.Command{
		Args: []string{
			filepath.Join(root, ".venv", "bin", "python3"),
			filepath.Join(root, "test", "e2e", "emulator", "moto_server.py"), "-p", strconv.Itoa(port),
		},
		Dir: filepath.Dir(log),
		Env: childEnvironment(root,
			"WERKZEUG_RUN_MAIN=true", "WERKZEUG_SERVER_FD=3",
			// Functions run in our host. A Docker on this machine must stay out of it.
			"DOCKER_HOST=unix:///nonexistent/docker.sock"),
		Log:        log,
		ExtraFiles: []*os.File{socket},
		Detached:   detached,
	})
	if err != nil {
		return nil, "", err
	}
	// By name: moto takes a bucket from a URL's path, and not from its host
	// name, for "localhost" alone.
	endpoint := "http://localhost:" + strconv.Itoa(port)
	if err := waitForMoto(ctx, moto, endpoint); err != nil {
		moto.Stop(0)
		return nil, "", &stepFailure{err: err, log: log}
	}
	return moto, endpoint, nil
}

// waitForMoto needs no polling: the open port keeps the call until moto serves it.
func waitForMoto(ctx context.Context, moto *childprocess.Process, endpoint string) error {
	ctx, cancel := context.WithTimeout(ctx, motoLimit)
	defer cancel()
	answered := make(chan error, 1)
	go func() { answered <- answers(ctx, endpoint) }()
	select {
	case err := <-answered:
		return err
	case <-moto.Done():
		return fmt.Errorf("moto_server ended while starting: %v", moto.Err())
	}
}

// answers says whether moto serves calls.
func answers(ctx context.Context, endpoint string) error {
	return motoAPI(ctx, http.MethodGet, endpoint+"/moto-api/config")
}

// motoAPI calls moto's own API, which is not part of AWS.
func motoAPI(ctx context.Context, method, url string) error {
	request, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return err
	}
	response, err := loopbackClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s", method, url, response.Status)
	}
	return nil
}

// loopbackClient reaches this machine and nothing else, whatever URL it is
// given: no call of the emulator may end at the real AWS.
var loopbackClient = &http.Client{Transport: &http.Transport{
	DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		if host != "localhost" && host != "127.0.0.1" {
			return nil, fmt.Errorf("refused to call %s: the emulator is on this machine only", address)
		}
		return (&net.Dialer{}).DialContext(ctx, "tcp4", net.JoinHostPort("127.0.0.1", port))
	},
	MaxIdleConnsPerHost: 8,
	IdleConnTimeout:     30 * time.Second,
}}
