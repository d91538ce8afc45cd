package packages

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"gitlab-codedeploy/internal/machine"
)

// Releases are all of a package that its repository has, as version-release. It writes
// the repository's file.
func (r Repository) Releases(ctx context.Context, p Package) ([]string, error) {
	if err := r.write(p); err != nil {
		return nil, err
	}
	list, err := r.Machine.Ask(ctx, machine.Command{
		Args: []string{manager(r.Machine), "-q", "--disablerepo=*", "--enablerepo=" + r.ID, "--showduplicates", "list", p.Name}, Timeout: listLimit,
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list %s in %s: unreachable, or not a repository with that package: %w", p.Name, r.Address(p), err)
	}
	// A long name moves the rest to the next line: words count, not columns.
	var found []string
	for _, word := range strings.Fields(list) {
		word = strings.TrimPrefix(word, "0:")
		if strings.Contains(word, "-") && word[0] >= '0' && word[0] <= '9' && !slices.Contains(found, word) {
			found = append(found, word)
		}
	}
	return found, nil
}
