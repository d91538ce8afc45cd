package omnibus

import (
	"context"
	_ "embed"
	"fmt"
)

//go:embed sql/sign-up.sql
var signUp string

//go:embed rb/close-sign-up.rb
var closeSignUp string

// SignUpIsOpen says whether anybody who reaches GitLab's page can make an account. It is
// so after an installation, and a restored database brings its own answer; gitlab.rb has
// no say in it.
func (g GitLab) SignUpIsOpen(ctx context.Context) (bool, error) {
	rows, err := g.Query(ctx, Statements{Text: signUp})
	if err != nil {
		return false, fmt.Errorf("%w %w", ErrDatabase, err)
	}
	if len(rows) != 1 || rows[0][0] != "t" && rows[0][0] != "f" {
		return false, fmt.Errorf("signup_enabled: got %q, want t or f", rows)
	}
	return rows[0][0] == "t", nil
}

// CloseSignUp closes it. GitLab's processes know within a minute.
func (g GitLab) CloseSignUp(ctx context.Context) error {
	_, err := g.Rails(ctx, Ruby{Name: "close sign-up", Text: closeSignUp, Changes: true})
	return err
}
