//go:build unix

package backup

import (
	"context"
	_ "embed"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"

	"gitlab-codedeploy/internal/machine"
	"gitlab-codedeploy/internal/omnibus"
	"gitlab-codedeploy/internal/plain"
)

//go:embed sql/repositories.sql
var repositoriesText string

var repositoriesSQL = template.Must(template.New("").Parse(repositoriesText))

// repository is one that has to be in a backup when there is something in it.
type repository struct {
	path, storage string
	// committed says that it has commits by the database, which knows that of projects and
	// snippets, and not of wikis and designs.
	committed bool
}

// repositories asks the database for them.
func repositories(ctx context.Context, m *machine.Machine) ([]repository, error) {
	g := omnibus.GitLab{Machine: m}
	schema, err := g.Schema(ctx)
	if err != nil {
		return nil, err
	}
	var text strings.Builder
	if err := repositoriesSQL.Execute(&text, schema); err != nil {
		return nil, err
	}
	rows, err := g.Query(ctx, omnibus.Statements{Text: text.String(), Timeout: 30 * time.Minute})
	if err != nil {
		return nil, err
	}
	var found []repository
	for _, row := range rows {
		if len(row) != 3 || row[2] != "t" && row[2] != "f" {
			return nil, fmt.Errorf("GitLab's database: got the row %q, want a repository's path, its storage, and t or f", row)
		}
		found = append(found, repository{row[0], row[1], row[2] == "t"})
	}
	return found, nil
}

// storages are all that GitLab knows, by their names. What other hosts have is told:
// nothing can be said of it by this one's disk.
func storages(m *machine.Machine) (map[string]omnibus.Storage, error) {
	found, err := omnibus.GitLab{Machine: m}.Storages()
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if s := found[name]; s.Folder == "" {
			m.Say("note: the repositories of the storage %s are not on this host, but at %s: they are not looked for on its disk", plain.Line(name, 50), plain.Line(s.Address, 100))
		}
	}
	return found, err
}

// alive says whether there is something in a repository on the disk: objects, and what
// points to them. Gitaly of 14.4 to 16.2 leaves an empty one where a bundle could not be
// restored, and says nothing.
func alive(m *machine.Machine, storage, path string) bool {
	folder := filepath.Join(storage, path+".git")
	return points(m, folder, "refs/") && hasFile(m, folder+"/objects")
}

// hasBranches is alive for what GitLab backs up whenever there is a branch in it: one with
// other references alone is empty to it.
// https://gitlab.com/gitlab-org/gitaly/-/blob/master/internal/backup/repository.go (IsEmpty)
func hasBranches(m *machine.Machine, storage, path string) bool {
	folder := filepath.Join(storage, path+".git")
	return points(m, folder, "refs/heads/") && hasFile(m, folder+"/objects")
}

// points says whether a repository has references that begin so. In a reftable they cannot
// be told apart.
func points(m *machine.Machine, folder, begin string) bool {
	packed, _ := m.ReadFile(folder + "/packed-refs")
	for line := range strings.Lines(packed) {
		if _, name, _ := strings.Cut(strings.TrimSpace(line), " "); strings.HasPrefix(name, begin) {
			return true
		}
	}
	return hasFile(m, filepath.Join(folder, begin)) || hasFile(m, folder+"/reftable")
}

// hasFile says whether there is a file in a folder, or below.
func hasFile(m *machine.Machine, folder string) bool {
	found := false
	_ = filepath.WalkDir(m.Path(folder), func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			found = true
			return fs.SkipAll
		}
		return nil
	})
	return found
}
