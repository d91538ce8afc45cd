// Package waitcondition tells a CloudFormation wait condition how an installation ended,
// on every way out of it but SIGKILL.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-cfn-waitcondition.html
package waitcondition

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"gitlab-codedeploy/internal/machine"
)

// URLPattern is the form of a handle's presigned URL; http is for tests on this very host.
const URLPattern = `(https://[A-Za-z0-9.-]+|http://localhost:[0-9]+)/[A-Za-z0-9%?&=._~:/+-]+`

const (
	attempts = 5
	pause    = 5 * time.Second
	// limit is for all attempts: an instance that goes down waits for nobody.
	limit = 2 * time.Minute
	// maxText is how much of a reason is sent.
	maxText = 256
)

// Condition is who is told.
type Condition struct {
	// URL is the handle's presigned URL. Nobody is told without one.
	URL string
	// ID is alphanumeric, and tells signals of one handle apart. Required with a URL.
	ID string
}

// Report runs an installation and sends SUCCESS with what it is done with, or FAILURE with
// its error. It returns the installation's error. A signal that does not get through is
// said and nothing more: a later run's wait condition is long over.
func (c Condition) Report(ctx context.Context, m *machine.Machine, install func(context.Context) (done string, err error)) error {
	ended := false
	defer func() {
		if !ended { // it panics
			c.send(ctx, m, "FAILURE", "the program ended in an unexpected way: see the log of its run")
		}
	}()
	done, err := install(ctx)
	if cause := context.Cause(ctx); cause != nil && err != nil {
		err = cause
	}
	ended = true
	if err != nil {
		c.send(ctx, m, "FAILURE", "error: "+err.Error())
		return err
	}
	c.send(ctx, m, "SUCCESS", done)
	return nil
}

// signal is what CloudFormation reads.
type signal struct{ Status, Reason, UniqueId, Data string }

func (c Condition) send(ctx context.Context, m *machine.Machine, status, reason string) {
	if c.URL == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	reason = text(reason)
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(signal{status, reason, c.ID, reason})
	last := "none"
	for try := range attempts {
		if try > 0 {
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
		// The URL's signature covers an empty Content-Type.
		answer, err := m.Put(ctx, c.URL, body.Bytes())
		if err == nil && answer/100 == 2 {
			m.Say("signalled %s", status)
			return
		}
		if last = fmt.Sprintf("HTTP %03d", answer); answer/100 == 4 {
			break
		}
	}
	m.Say("warning: could not signal %s (last answer: %s)", status, last)
}

// text is a reason in ASCII, on one line, as long as it may be.
func text(reason string) string {
	reason = strings.Map(func(r rune) rune {
		switch {
		case r < ' ' || r == 0x7f:
			return ' '
		case r > 0x7f:
			return '?'
		}
		return r
	}, reason)
	if len(reason) > maxText {
		reason = reason[:maxText]
	}
	return reason
}
