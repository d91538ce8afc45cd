package emulator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"gitlab-codedeploy/internal/config"
	"gitlab-codedeploy/test/e2e/childprocess"
)

// environment is the file under config/ that describes the emulator.
const environment = "local"

// Emulator is a running emulated AWS with its two accounts.
type Emulator struct {
	Root   string        // folder of the Go module
	Work   string        // folder for everything this emulator writes
	Config config.Config // config/local.yaml

	Endpoint string // URL of the emulated AWS, http://localhost:PORT
	A, B     Account

	moto *childprocess.Process // nil when another program started it
}

// start starts the emulated AWS on a port (0: any) and prepares both accounts:
// profiles, account A's certificate, account B's CodeDeploy.
func start(ctx context.Context, root, work string, port int, detached bool) (*Emulator, error) {
	if err := prepareGitLab(root); err != nil {
		return nil, fmt.Errorf("prepare the emulator's GitLab: %w", err)
	}
	cfg, err := config.Load(filepath.Join(root, "config"), environment)
	if err != nil {
		return nil, err
	}
	e := &Emulator{Root: root, Work: work, Config: cfg}
	if e.moto, e.Endpoint, err = startMoto(ctx, root, e.log("moto"), port, detached); err != nil {
		return nil, err
	}
	if err := e.prepare(ctx); err != nil {
		e.stop()
		return nil, &stepFailure{err: err, log: e.log("moto")}
	}
	return e, nil
}

func (e *Emulator) prepare(ctx context.Context) (err error) {
	if e.A, err = e.newAccount(ctx, e.Config.GitLab.Account, "account-a"); err != nil {
		return err
	}
	if e.B, err = e.newAccount(ctx, e.Config.Deploy.Account, "account-b"); err != nil {
		return err
	}
	if err := e.writeProfiles(); err != nil {
		return err
	}
	if err := e.importCertificate(ctx); err != nil {
		return err
	}
	return e.createCodeDeploy(ctx)
}

// stop ends the emulated AWS. Everything in it is gone with it.
func (e *Emulator) stop() {
	if e.moto != nil {
		e.moto.Stop(3 * time.Second)
	}
}

// log is the place of a component's log.
func (e *Emulator) log(name string) string { return filepath.Join(e.Work, "logs", name+".log") }

// state is what another program needs to work with a running emulator.
type state struct {
	Endpoint string  `json:"endpoint"`
	A        Account `json:"accountA"`
	B        Account `json:"accountB"`
}

func (e *Emulator) save() error {
	return writeJSON(filepath.Join(e.Work, "state.json"), state{Endpoint: e.Endpoint, A: e.A, B: e.B})
}

// Open connects with the emulator that another program runs in a work folder.
func Open(root, work string) (*Emulator, error) {
	var s state
	if err := readJSON(filepath.Join(work, "state.json"), &s); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("no emulator is up in %s: run make up", work)
		}
		return nil, err
	}
	cfg, err := config.Load(filepath.Join(root, "config"), environment)
	if err != nil {
		return nil, err
	}
	return &Emulator{Root: root, Work: work, Config: cfg, Endpoint: s.Endpoint, A: s.A, B: s.B}, nil
}

func writeJSON(path string, value any) error {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o600)
}

func readJSON(path string, value any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, value); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
