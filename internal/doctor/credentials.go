package doctor

import (
	"context"
	"errors"
	"fmt"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/plain"
)

// enter finds out whose credentials there are, and what the stacks have put out. All else needs it, so it comes first.
func (l *look) enter(ctx context.Context) []Finding {
	var found []Finding
	for _, side := range []account.Side{account.GitLab, account.Deploy} {
		f := l.enterOne(ctx, side)
		f.Where, f.Check = placeOf(side), "credentials"
		found = append(found, f)
		if l.accounts[side] == nil {
			continue
		}
		err := l.accounts[side].ReadOutputs(ctx)
		s := Finding{Where: placeOf(side), Check: "stack"}
		switch unusable := (account.Unusable{}); {
		case err == nil:
			s.State, s.Found = OK, l.accounts[side].Stack+" is there"
		case errors.As(err, &unusable): // before the first deploy this is as it should be
			s.State, s.Found = Unchecked, l.accounts[side].Stack+" is not deployed yet: what it has cannot be looked at"
		default:
			s.State, s.Found = Unchecked, refused("cloudformation:DescribeStacks", err).Found
		}
		if l.noStack[side] = err; err != nil {
			l.noStack[side] = errors.New(s.Found)
		}
		found = append(found, s)
	}
	return found
}

func (l *look) enterOne(ctx context.Context, side account.Side) Finding {
	loaded, err := l.Open(ctx, side)
	if err == nil {
		var a *account.Account
		if a, err = account.Enter(ctx, *l.config, side, loaded); err == nil {
			l.accounts[side] = a
			return ok("%s", plain.Line(a.Caller, 200))
		}
	}
	return wrong(fmt.Sprintf("sign in (aws sso login), and name the profile of the account %s.account", side), "%s", plain.Line(err.Error(), 500))
}
