//go:build unix

package backup

import (
	"context"
	_ "embed"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"gitlab-codedeploy/internal/machine"
	"gitlab-codedeploy/internal/omnibus"
)

//go:embed sql/repositories.sql
var repositoriesSQL string

// repository is one that has commits, as the database knows it.
type repository struct{ path, storage string }

// repositories asks the database which repositories have to be there.
func repositories(ctx context.Context, m *machine.Machine) ([]repository, error) {
	rows, err := omnibus.GitLab{Machine: m}.Query(ctx, omnibus.Statements{Text: repositoriesSQL, Timeout: 30 * time.Minute})
	if err != nil {
		return nil, err
	}
	var found []repository
	for _, row := range rows {
		if len(row) != 2 {
			return nil, fmt.Errorf("GitLab's database: got the row %q, want a repository's path and its storage", row)
		}
		found = append(found, repository{row[0], row[1]})
	}
	return found, nil
}

// gitalySettings has the storages of this host.
const gitalySettings = "/var/opt/gitlab/gitaly/config.toml"

var storageLine = regexp.MustCompile(`^\s*(name|path)\s*=\s*"([^"]+)"`)

// storages are the folders of Gitaly's storages by their names: none when repositories
// are not on this host.
func storages(m *machine.Machine) (map[string]string, error) {
	text, err := m.ReadFile(gitalySettings)
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	inside, name := false, ""
	for line := range strings.Lines(text) {
		if trimmed := strings.TrimSpace(line); strings.HasPrefix(trimmed, "[") {
			inside, name = trimmed == "[[storage]]", ""
		}
		switch parts := storageLine.FindStringSubmatch(line); {
		case !inside || parts == nil:
		case parts[1] == "name":
			name = parts[2]
		case name != "":
			found[name] = parts[2]
		}
	}
	return found, nil
}

// alive says whether there is something in a repository on the disk: objects, and what
// points to them. Gitaly of 14.4 to 16.2 leaves an empty one where a bundle could not be
// restored, and says nothing.
func alive(m *machine.Machine, storage, path string) bool {
	folder := filepath.Join(storage, path+".git")
	has := func(below string) bool {
		found := false
		_ = filepath.WalkDir(m.Path(filepath.Join(folder, below)), func(at string, entry fs.DirEntry, err error) error {
			if err == nil && entry.Type().IsRegular() {
				found = true
				return fs.SkipAll
			}
			return nil
		})
		return found
	}
	packed, _ := m.ReadFile(filepath.Join(folder, "packed-refs"))
	referred := has("refs") || has("reftable")
	for line := range strings.Lines(packed) {
		referred = referred || !strings.HasPrefix(line, "#") && strings.TrimSpace(line) != ""
	}
	return referred && has("objects")
}
