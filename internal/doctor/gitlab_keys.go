package doctor

import (
	"context"
	"fmt"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/keyring"
	"gitlab-codedeploy/internal/plain"
)

// gitlabKeys compares the keys that the trigger believes with those that GitLab signs with.
func gitlabKeys(ctx context.Context, l *look) []Finding {
	if err := l.noStack[account.GitLab]; err != nil {
		return []Finding{unchecked("%s", err)}
	}
	shown, err := l.Keys(ctx, l.accounts[account.GitLab])
	if err != nil {
		return []Finding{refused("ssm:SendCommand of the document keys", err)}
	}
	remedy := fmt.Sprintf("scripts/ops trust --env %s, then scripts/ops deploy", l.config.Environment)
	change := keyring.Compare(l.config.Keys, shown, true)
	switch {
	case len(l.config.Keys) == 0:
		return []Finding{wrong(remedy, "config/%s.jwks.json has no key, so no upload is believed", l.config.Environment)}
	case !change.Nothing():
		return []Finding{wrong(remedy, "GitLab shows other keys than config/%s.jwks.json has: %s", l.config.Environment, plain.Line(change.String(), 300))}
	}
	return []Finding{ok("GitLab signs with what config/%s.jwks.json has: %s", l.config.Environment, joined(shown.IDs()))}
}
