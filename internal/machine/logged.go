package machine

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
)

// InstallLog has everything that packages and GitLab have said: Run Command keeps the
// first 24,000 characters only.
// https://docs.aws.amazon.com/systems-manager/latest/userguide/rc-console.html
const InstallLog = "/var/log/gitlab-codedeploy-install.log"

// Logged is Do for a command whose talk people want to see: both of its outputs go to
// Log and to InstallLog, line by line, without the Secrets. GitLab's reconfigure prints
// its resources when it fails, and GitLab Runner a part of its token.
func (m *Machine) Logged(ctx context.Context, c Command) error {
	_, err := m.Talked(ctx, c)
	return err
}

// Talked is Logged for who looks for a reason in the talk, whose end it returns: a
// package manager ends well where a package has failed. A Stdout gets each line, too.
func (m *Machine) Talked(ctx context.Context, c Command) (said string, err error) {
	path := m.Path(InstallLog)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	defer file.Close()
	var kept tail
	to := []io.Writer{m.Log, file, &kept}
	if c.Stdout != nil {
		to = append(to, c.Stdout)
	}
	lines := &redacting{to: io.MultiWriter(to...), machine: m}
	c.Stdout, c.Stderr = lines, lines
	err = m.Do(ctx, c)
	lines.end()
	return kept.String(), err
}

// colours are the control sequences of a terminal. GitLab Runner writes them without
// looking for one, in the middle of a token.
var colours = regexp.MustCompile(`\x1b\[[0-?]*[ -/]*[@-~]`)

// WithoutColours leaves a terminal's control sequences out of a text.
func WithoutColours(text string) string { return colours.ReplaceAllString(text, "") }

// redact leaves the Secrets out of a text, and colours.
func (m *Machine) redact(text string) string {
	text = WithoutColours(text)
	for _, secret := range m.Secrets {
		if secret == "" {
			continue
		}
		for _, form := range []string{secret, rubyText(secret), quoted(secret)} {
			text = strings.ReplaceAll(text, form, "********")
		}
	}
	return text
}

// quoted is a text as Ruby, Go or JSON write it, without the quotes around it.
func quoted(text string) string { return strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) }

// rubyText is quoted, as Ruby's inspect writes what could be code in its own strings.
func rubyText(text string) string { return rubyCode.ReplaceAllString(quoted(text), `\#$1`) }

var rubyCode = regexp.MustCompile(`#([{$@])`)

// redacting hands whole lines on, redacted.
type redacting struct {
	to      io.Writer
	machine *Machine

	mu    sync.Mutex   // both outputs come by themselves
	begun bytes.Buffer // a line without its end
}

// maxLine is how long a line may get before it is handed on without its end.
const maxLine = 64 << 10

func (r *redacting) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begun.Write(p)
	for {
		text := r.begun.Bytes()
		end := bytes.IndexByte(text, '\n') + 1
		if end == 0 {
			if len(text) < maxLine {
				return len(p), nil
			}
			end = len(text)
		}
		_, err := io.WriteString(r.to, r.machine.redact(string(r.begun.Next(end))))
		if err != nil {
			return 0, err
		}
	}
}

func (r *redacting) end() {
	if r.begun.Len() > 0 {
		_, _ = io.WriteString(r.to, r.machine.redact(r.begun.String())+"\n")
	}
}
