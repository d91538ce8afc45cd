//go:build unix

package backup

import (
	"regexp"
	"slices"
	"strings"
)

// complaints are what gitlab-backup restore says of failures. It ends with 0 when psql
// says errors and when 13.x cannot restore a repository; later versions write down how
// gitaly-backup ended, and go on.
// https://gitlab.com/gitlab-org/gitlab/-/blob/master/lib/backup/targets/repositories.rb
type complaints struct {
	fatal        []string // lines, the first few
	lost         []string // lines about repositories, the first few
	repositories []string // paths of them
}

var (
	fatalLine = regexp.MustCompile(`\[FAILED\]|rake aborted!|GitLab version mismatch|^(unpacking backup|Backup|Restore) failed|(^|-- )(Restore operation failed|Unpacking backup failed)` +
		`|level=fatal|"level":"fatal"`)
	// The first error of psql may follow "Restoring PostgreSQL database … ... " on its line.
	sqlLine = regexp.MustCompile(`(?:^|-- |\.\.\. )ERROR: +(.*)|^psql:.*ERROR: +(.*)`)
	// Harmless of psql's errors is what GitLab itself ignores: extensions and, from
	// PostgreSQL 16 on, a function are the superuser's, and the dump drops first what is
	// not there. What cannot be dropped is none of these: nothing drops roles, operator
	// classes, access methods, collations or tablespaces.
	// https://gitlab.com/gitlab-org/gitlab/-/blob/master/lib/backup/targets/database.rb
	harmlessSQL = regexp.MustCompile(`^(must be owner of .*|must be able to SET ROLE "gitlab-psql"|` +
		`(relation|table|index|sequence|view|materialized view|constraint|trigger|function|type|schema|extension|publication|rule|column) .*does not exist|.*already exists)$`)

	repositoryLine = regexp.MustCompile(`\[Failed\]|level=error|"level":"error"|gitaly-backup exit status [1-9]`)
	// Where the path of a repository stands in them: 13.10's own words, gitaly-backup's
	// log as text and as JSON, and its summary.
	pathIn = regexp.MustCompile(`^\[Failed\] restoring .* \(([^() ]+)\)|\brelative_path="?([^" ]+)|"relative_path":"([^"]+)"`)
)

func (c *complaints) hear(line string) {
	keep := func(lines *[]string) {
		if len(*lines) < maxComplaints {
			*lines = append(*lines, line)
		}
	}
	if found := sqlLine.FindStringSubmatch(line); found != nil {
		if !harmlessSQL.MatchString(strings.TrimSpace(found[1] + found[2])) {
			keep(&c.fatal)
		}
		return
	}
	switch {
	case fatalLine.MatchString(line):
		keep(&c.fatal)
	case repositoryLine.MatchString(line):
		keep(&c.lost)
		if found := pathIn.FindStringSubmatch(line); found != nil {
			path := strings.TrimSuffix(found[1]+found[2]+found[3], ".git")
			if !slices.Contains(c.repositories, path) {
				c.repositories = append(c.repositories, path)
			}
		}
	}
}

// reasons say what to do about errors that are known.
var reasons = []struct {
	line *regexp.Regexp
	hint string
}{
	{regexp.MustCompile(`role "([^"]+)" does not exist`), `the role is missing on this server: gitlab-psql -c 'CREATE ROLE "…"'`},
	{regexp.MustCompile(`extension "[^"]+" is not available|could not open extension control file|operator class .* does not exist|permission denied to create extension`),
		"an extension is missing on this server: gitlab-psql -c 'CREATE EXTENSION …', as the superuser that it is"},
	{regexp.MustCompile(`(?i)storage "?[^" ]+"? .*not found|invalid storage name|no such storage|is missing a gitaly_address`),
		"the backup has several storages: this server's gitlab.rb has to name each of them"},
	{regexp.MustCompile(`(?i)no space left`), "the disk is full"},
}

// hint says what to do about what was heard.
func (c *complaints) hint() string {
	for _, r := range reasons {
		if slices.ContainsFunc(slices.Concat(c.fatal, c.lost), r.line.MatchString) {
			return r.hint
		}
	}
	return ""
}
