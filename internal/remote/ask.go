package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"gitlab-codedeploy/internal/plain"
)

// ErrNoAnswer says that the host did not end in time.
var ErrNoAnswer = errors.New("no answer")

// Ask runs a document that only looks, and returns what it has printed.
func (h Host) Ask(ctx context.Context, operation string, parameters map[string]string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, cmp.Or(h.Patience, 3*time.Minute), ErrNoAnswer)
	defer cancel()
	out, err := h.runOften(ctx, operation, parameters)
	switch {
	case ctx.Err() != nil:
		return "", fmt.Errorf("wait for %s on %s: %w", h.document(operation), h.Instance, context.Cause(ctx))
	case err != nil:
		return "", err
	case out.status != 0:
		return "", fmt.Errorf("%s on %s ended with %d: %s", h.document(operation), h.Instance, out.status, lastWords(out.stderr))
	case out.stdout == "":
		return "", fmt.Errorf("%s on %s printed nothing: an emulator takes documents and runs none", h.document(operation), h.Instance)
	case utf8.RuneCountInString(out.stdout) >= maxOutput:
		return "", fmt.Errorf("%s on %s: it printed more than Systems Manager tells", h.document(operation), h.Instance)
	}
	return out.stdout, nil
}

// lastWords is the last line of a script's complaint.
func lastWords(text string) string {
	lines := plain.Lines(text, 1, 300)
	return cmp.Or(strings.TrimSpace(strings.Join(lines, "")), "it said nothing")
}
