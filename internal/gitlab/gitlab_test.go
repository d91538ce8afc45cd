package gitlab

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func version(t *testing.T, text string) Version {
	t.Helper()
	v, err := ParseVersion(text)
	require.NoError(t, err)
	return v
}

func TestS8TheStopsOfTheSourceAreAllOnThePath(t *testing.T) {
	var path []string
	for _, stop := range Stops() {
		path = append(path, stop.Version.String())
	}
	// docs/requirements.md, S8; what follows is GitLab's own list.
	assert.Equal(t, []string{"13.12.15", "14.0.12", "14.3.6", "14.9.5", "14.10.5", "15.0.5", "15.4.6"}, path[:7])
	var minors []string
	for _, version := range path {
		minors = append(minors, version[:strings.LastIndex(version, ".")])
	}
	assert.Equal(t, strings.Fields("13.12 14.0 14.3 14.9 14.10 15.0 15.4 15.11 16.3 16.7 16.11 17.3 17.5 17.8 17.11 18.2 18.5 18.8 18.11 19.2"), minors)
}

func TestS8EachStopHasAPackageThatExists(t *testing.T) {
	for _, stop := range Stops() {
		for _, family := range stop.Packages {
			first := map[string]string{"el/7": "7.0.0", "amazon/2": "14.9.0", "amazon/2023": "16.3.0"}[family]
			assert.GreaterOrEqual(t, stop.Version.Compare(version(t, first)), 0, "%s from %s", stop.Version, family)
		}
		assert.NotContains(t, stop.Packages[1:], "el/7", "EL 7's package is for want of a better one")
	}
}

func TestS6HolesOfVersions(t *testing.T) {
	for text, want := range map[string]string{
		"6.9.2":    "",
		"11.8.10":  "CVE-2026-110264",
		"11.9.0":   "CVE-2021-22205 CVE-2026-110264",
		"13.7.9":   "CVE-2021-22205 CVE-2026-110264",
		"13.8.7":   "CVE-2021-22205 CVE-2026-110264",
		"13.8.8":   "CVE-2026-110264",
		"13.9.5":   "CVE-2021-22205 CVE-2026-110264",
		"13.10.2":  "CVE-2021-22205 CVE-2026-110264",
		"13.10.3":  "CVE-2026-110264",
		"13.11.0":  "CVE-2026-110264",
		"14.6.7":   "CVE-2026-110264",
		"14.9.1":   "CVE-2022-1162 CVE-2026-110264",
		"14.9.5":   "CVE-2026-110264",
		"16.0.0":   "CVE-2023-2825 CVE-2026-110264",
		"16.3.6":   "CVE-2023-7028 CVE-2026-110264",
		"16.3.9":   "CVE-2026-110264",
		"18.11.11": "CVE-2026-85706 CVE-2026-110264",
		"18.11.13": "",
		"19.2.7":   "CVE-2026-97229 CVE-2026-110264",
		"19.5.1":   "",
		"19.6.0":   "",
	} {
		var found []string
		for _, hole := range HolesOf(version(t, text)) {
			found = append(found, hole.CVE)
		}
		assert.Equal(t, want, strings.Join(found, " "), text)
	}
}

func TestS6TheFirstSafeVersionHasNoHole(t *testing.T) {
	for text, want := range map[string]string{
		"13.10.2": "18.11.13", "15.4.6": "18.11.13", "18.11.13": "18.11.13", "19.2.0": "19.2.9", "19.6.0": "19.6.0",
	} {
		safe := SafeFrom(version(t, text))
		assert.Equal(t, want, safe.String(), text)
		assert.Empty(t, HolesOf(safe))
	}
}

func TestS5_S11_packagesThatGitLabPublishes(t *testing.T) {
	for question, want := range map[string]string{
		"gitlab amazon-linux-2 x86_64 13.10.2":           "el/7",
		"gitlab amazon-linux-2 x86_64 14.8.6":            "el/7",
		"gitlab amazon-linux-2 x86_64 14.9.0":            "amazon/2",
		"gitlab amazon-linux-2 aarch64 14.8.6":           "",
		"gitlab amazon-linux-2 aarch64 14.9.0":           "amazon/2",
		"gitlab amazon-linux-2 x86_64 19.2.9":            "amazon/2",
		"gitlab amazon-linux-2 x86_64 19.3.0":            "",
		"gitlab amazon-linux-2023 x86_64 16.2.9":         "",
		"gitlab amazon-linux-2023 aarch64 16.3.0":        "amazon/2023",
		"gitlab amazon-linux-2023 x86_64 19.5.1":         "amazon/2023",
		"gitlab amazon-linux-2 x86_64 6.9.2":             "",
		"gitlab amazon-linux-2 s390x 15.4.6":             "",
		"gitlab-runner amazon-linux-2 aarch64 12.8.9":    "",
		"gitlab-runner amazon-linux-2 aarch64 13.10.0":   "el/7",
		"gitlab-runner amazon-linux-2023 x86_64 13.10.0": "el/7",
		"gitlab-runner amazon-linux-2023 x86_64 15.4.2":  "amazon/2",
		"gitlab-runner amazon-linux-2023 x86_64 17.6.9":  "amazon/2",
		"gitlab-runner amazon-linux-2023 x86_64 17.7.0":  "amazon/2023",
		"gitlab-runner amazon-linux-2 x86_64 19.3.0":     "amazon/2",
	} {
		var product, system, architecture, text string
		_, err := fmt.Sscan(question, &product, &system, &architecture, &text)
		require.NoError(t, err)
		found, has := PackageOf(product, system, architecture, version(t, text))
		assert.Equal(t, want, found.Repository, question)
		assert.Equal(t, want != "", has, question)
	}
	assert.Equal(t, "amazon-linux-2 x86_64 from 7.0.0 to 19.2, aarch64 from 14.9.0 to 19.2; amazon-linux-2023 x86_64 from 16.3.0, aarch64 from 16.3.0",
		DescribePackages("gitlab"))
	assert.Equal(t, "amazon-linux-2 x86_64 from 10.0.0, aarch64 from 12.9.0; amazon-linux-2023 x86_64 from 10.0.0, aarch64 from 12.9.0",
		DescribePackages("gitlab-runner"))
}

// TestS8EachStopHasAPackageInBothTables: they say the same of each stop.
func TestS8EachStopHasAPackageInBothTables(t *testing.T) {
	for _, stop := range Stops() {
		for _, system := range []string{"amazon-linux-2", "amazon-linux-2023"} {
			if found, has := PackageOf("gitlab", system, "x86_64", stop.Version); has {
				assert.Contains(t, stop.Packages, found.Repository, "%s on %s", stop.Version, system)
			}
		}
	}
}

func TestVersionsAreReadStrictly(t *testing.T) {
	for _, text := range []string{"", "13.10", "13.10.2.1", "v13.10.2", "013.10.2", "13.10.2-ee", "13.10.2\n", "13.-1.2", "13.100.2"} {
		_, err := ParseVersion(text)
		assert.EqualError(t, err, `got `+quoted(text)+`, want an exact version X.Y.Z`)
	}
}

func quoted(text string) string { return `"` + strings.ReplaceAll(text, "\n", `\n`) + `"` }

func TestMistakesInTheTablesAreNamedByTheirLine(t *testing.T) {
	for text, want := range map[string]string{
		"13.12.15\tlast\tel/7\t11\tr":                                          "upgrade-path.tsv:1: got 5 fields, want 6",
		"13.12.15\tlast\tel/7\t11\t\tr":                                        `upgrade-path.tsv:1: field 5: got "", want a text without blanks at its ends`,
		"13.12.15\tlast\tel/7\t11\tr\t$(id)":                                   `upgrade-path.tsv:1: field 6: got "$(id)", want no quotes, $, backslashes or braces`,
		"13.12\tlast\tel/7\t11\tr\tr":                                          `upgrade-path.tsv:1: got "13.12", want an exact version X.Y.Z`,
		"13.12.15\tmaybe\tel/7\t11\tr\tr":                                      `upgrade-path.tsv:1: patch: got "maybe", want last or known`,
		"13.12.15\tlast\tel/8\t11\tr\tr":                                       `upgrade-path.tsv:1: packages: got "el/8", want el/7, amazon/2 or amazon/2023`,
		"13.12.15\tlast\tel/7\tx\tr\tr":                                        `upgrade-path.tsv:1: postgresql: got "x", want a major version`,
		"# c\n\n14.0.12\tlast\tel/7\t12\tr\tr\n13.12.15\tlast\tel/7\t12\tr\tr": "upgrade-path.tsv:4: 13.12.15 does not follow 14.0.12",
		"14.0.12\tlast\tel/7\t12\tr\tr\n14.3.6\tlast\tel/7\t11\tr\tr":          "upgrade-path.tsv:2: postgresql: 11 is less than an earlier stop needs",
	} {
		_, err := parseStops(text + "\n")
		assert.EqualError(t, err, want)
	}
	_, err := parseStops("14.0.12")
	assert.EqualError(t, err, "upgrade-path.tsv: the last line is open")

	const page = "https://about.gitlab.com/releases/x"
	for text, want := range map[string]string{
		"CVE-1\t1.0.0\t1.0.1\tt\t" + page:                    `cve: got "CVE-1", want CVE-20YY-N`,
		"CVE-2021-22205\t1.0\t1.0.1\tt\t" + page:             `from: got "1.0", want an exact version X.Y.Z`,
		"CVE-2021-22205\t1.0.0\t1.0.1,\tt\t" + page:          `fixed: got "", want an exact version X.Y.Z`,
		"CVE-2021-22205\t1.0.0\t1.0.0\tt\t" + page:           "fixed: 1.0.0 does not follow 1.0.0",
		"CVE-2021-22205\t1.0.0\t1.1.1,1.1.2\tt\t" + page:     "fixed: 1.1.2 does not follow 1.1.1",
		"CVE-2021-22205\t1.0.0\t1.0.1\tt\thttp://x.example/": `source: got "http://x.example/", want a page of GitLab's or the CVE record`,
	} {
		_, err := parseHoles(text + "\n")
		assert.EqualError(t, err, "takeover-holes.tsv:1: "+want)
	}
	const blob = "https://gitlab.com/gitlab-org/omnibus-gitlab/-/blob/x"
	row := "gitlab\tamazon-linux-2\tel/7\tx86_64\t7.0.0\t14.8\t" + blob + "\n"
	for text, want := range map[string]string{
		strings.Replace(row, "gitlab\t", "gitlab-ce\t", 1): `1: product: got "gitlab-ce", want gitlab or gitlab-runner`,
		strings.Replace(row, "linux-2", "linux-1", 1):      `1: system: got "amazon-linux-1", want amazon-linux-2 or amazon-linux-2023`,
		strings.Replace(row, "el/7", "el/8", 1):            `1: repository: got "el/8", want el/7, amazon/2 or amazon/2023`,
		strings.Replace(row, "x86_64", "x86_64,arm64", 1):  `1: architectures: got "arm64", want x86_64 or aarch64`,
		strings.Replace(row, "7.0.0", "7.0", 1):            `1: first: got "7.0", want an exact version X.Y.Z`,
		strings.Replace(row, "14.8", "14.8.6", 1):          `1: last: got "14.8.6", want a minor X.Y, or - for none`,
		strings.Replace(row, "14.8", "6.9", 1):             `1: last: 6.9 is before 7.0.0`,
		strings.Replace(row, blob, "http://x.example/", 1): `1: source: got "http://x.example/", want a page of GitLab's`,
		row + strings.Replace(row, "7.0.0", "14.8.1", 1):   `2: first: 14.8.1 does not follow the range before it`,
		strings.Replace(row, "14.8\t", "-\t", 1) + row:     `2: first: 7.0.0 does not follow the range before it`,
	} {
		_, err := parsePackages(text)
		assert.EqualError(t, err, "packages.tsv:"+want)
	}
	twice := "CVE-2021-22205\t1.0.0\t1.0.1\tt\t" + page + "\n"
	_, err = parseHoles(twice + twice)
	assert.EqualError(t, err, "takeover-holes.tsv:2: CVE-2021-22205 stands there twice")
}
