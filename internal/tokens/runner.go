package tokens

import (
	"context"
	_ "embed"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"gitlab-codedeploy/internal/gitlab"
	"gitlab-codedeploy/internal/omnibus"
)

// The kinds of token that a runner registers with.
const (
	Registration   = "registration"   // of the instance, up to 15.11
	Authentication = "authentication" // of a runner that is made for it, from 16.0 on
)

// 15.10 and 15.11 know runners with a token of their own, switched off.
// https://docs.gitlab.com/ci/runners/runners_scope/
var firstAuthentication = gitlab.Version{Major: 16}

// Onlineness is how lately GitLab has heard from a runner.
type Onlineness struct {
	Runner string `json:"runner"`
	Online bool   `json:"online"`
	// Ago is nil for a runner that GitLab has never heard from.
	Ago *int64 `json:"contactedSecondsAgo"`
}

// onlineWithin is when GitLab itself calls a runner online, later versions for twice as
// long: it writes the contact down every 40 to 55 minutes only.
// https://gitlab.com/gitlab-org/gitlab/-/blob/master/app/models/ci/runner.rb
const onlineWithin = time.Hour

// Online asks GitLab's database about a runner by its name, which has the form of a
// runner's: it stands between quotes.
func Online(ctx context.Context, g omnibus.GitLab, runner string) (Onlineness, error) {
	statement, err := render("online.sql", runner)
	if err != nil {
		return Onlineness{}, err
	}
	rows, err := g.Query(ctx, omnibus.Statements{Text: statement})
	if err != nil {
		return Onlineness{}, fmt.Errorf("%w %w", omnibus.ErrDatabase, err)
	}
	o := Onlineness{Runner: runner}
	if len(rows) != 1 {
		return o, fmt.Errorf("GitLab's database answers %q instead of a number of seconds", rows)
	}
	ago, err := strconv.ParseInt(rows[0][0], 10, 64)
	if err != nil {
		return o, fmt.Errorf("GitLab's database answers %q instead of a number of seconds", rows[0][0])
	}
	if ago >= 0 {
		o.Ago, o.Online = &ago, ago < int64(onlineWithin/time.Second)
	}
	return o, nil
}

// Err says of a runner that it is not online.
func (o Onlineness) Err() error {
	if o.Online {
		return nil
	}
	return fmt.Errorf("GitLab has not heard from a runner '%s' within %.0f s", o.Runner, onlineWithin.Seconds())
}

// Parameters are SSM's, of ssm.Client.
type Parameters interface {
	PutParameter(context.Context, *ssm.PutParameterInput, ...func(*ssm.Options)) (*ssm.PutParameterOutput, error)
}

// Issue is what a runner registers with, on its way to the runner's host.
type Issue struct {
	GitLab omnibus.GitLab
	// Name is the runner's in GitLab, and Tags are those of its jobs: from 16.0 on GitLab
	// knows them by itself. Without any it takes untagged jobs.
	Name string
	Tags []string
	// Parameter is an SSM parameter, which only the runner's host can decrypt: Key is the
	// ARN of its KMS key.
	Parameter, Key string
}

// Issued is what was put there, and never the token itself.
type Issued struct {
	Version string `json:"version"`
	Token   string `json:"token"` // its kind
}

//go:embed rb/registration-token.rb
var registrationToken string

//go:embed rb/runner.rb
var newRunner string

// tokenForm is what no token of any version is outside of.
var tokenForm = regexp.MustCompile(`^[A-Za-z0-9._=-]{8,255}$`)

// Put puts the token there. It leaves this process to Systems Manager alone, and is on the
// host in no file, argument or log.
func (i Issue) Put(ctx context.Context, parameters Parameters) (Issued, error) {
	installed, err := i.GitLab.Installed()
	if err != nil {
		return Issued{}, err
	}
	issued := Issued{Version: installed.Version.String(), Token: Registration}
	m := i.GitLab.Machine
	// The database has it encrypted, so that Rails has to be asked.
	program := omnibus.Ruby{Name: "read the registration token", Text: registrationToken, Changes: true}
	if installed.Version.Compare(firstAuthentication) >= 0 {
		issued.Token = Authentication
		program = omnibus.Ruby{Name: "make a runner", Text: newRunner, Changes: true, Input: map[string]any{"name": i.Name, "tags": append([]string{}, i.Tags...)}}
		m.Say("making a runner '%s' in GitLab %s; starting Rails takes half a minute", i.Name, installed.Version)
	} else {
		m.Say("reading the registration token of GitLab %s; starting Rails takes half a minute", installed.Version)
	}
	token, err := i.GitLab.Rails(ctx, program)
	if err != nil {
		return Issued{}, fmt.Errorf("%w: no token", err)
	}
	if !tokenForm.MatchString(token) {
		return Issued{}, fmt.Errorf("%s: gitlab-rails runner printed no token", program.Name)
	}
	m.Say("putting the token into %s, for the runner's host", i.Parameter)
	overwrite := true
	_, err = parameters.PutParameter(ctx, &ssm.PutParameterInput{
		Name: &i.Parameter, Value: &token, KeyId: &i.Key, Type: types.ParameterTypeSecureString, Overwrite: &overwrite,
	})
	if err != nil {
		return Issued{}, fmt.Errorf("cannot put the token into %s: %w", i.Parameter, err)
	}
	return issued, nil
}
