package config

import (
	"fmt"
	"net/url"
	"strings"
)

// What Pipeline.ForkPipelines may say.
const (
	ForksFixed = "issuer-is-18.2.2-or-later"
	ForksOff   = "switched-off-in-project"
)

func (d *document) validatePipeline(pipeline *Pipeline) {
	check(d, &pipeline.IssuerURL, by(d.anotherGitLab))
	check(d, &pipeline.IssuerURL, issuerURL)
	check(d, &pipeline.ProjectPath, projectPath)
	check(d, &pipeline.Branch, by(branchName))
	d.validateForkPipelines(pipeline)
}

// validateForkPipelines asks for a statement, because nothing here can find out. Before 18.2.2 a pipeline for a fork's
// merge request that runs in the project got the project's own identity, with a branch name of the fork's choice; and
// such pipelines are on by default.
// https://www.cve.org/CVERecord?id=CVE-2025-5819
// https://docs.gitlab.com/ci/pipelines/merge_request_pipelines/#use-with-forked-projects
func (d *document) validateForkPipelines(pipeline *Pipeline) {
	want := fmt.Sprintf("%s or %s: before 18.2.2 a fork's merge request can sign in to both accounts as this project (CVE-2025-5819)",
		ForksFixed, ForksOff)
	switch {
	case d.present(&pipeline.ForkPipelines):
		check(d, &pipeline.ForkPipelines, only(want, ForksFixed, ForksOff))
	case d.sound(&d.config.Pipeline):
		at := d.places[&d.config.Pipeline]
		d.report(at.line, child(at.path, "forkPipelines"), "missing, want %s", want)
	}
}

// anotherGitLab refuses the GitLab of this environment as the issuer: who is root on the server could sign itself into
// both accounts, and take over those that hold its backups and what it deploys.
func (d *document) anotherGitLab(issuer string) string {
	domain := &d.config.GitLab.LoadBalancer.DomainName
	if d.sound(domain) && strings.EqualFold(hostOf(issuer), *domain) {
		return "the URL of another GitLab than gitlab.loadBalancer.domainName: the one of this environment could sign itself into both accounts"
	}
	return ""
}

// hostOf returns the host of a URL, also of one that is no issuer's: without user, port, and a dot at its end. It
// returns "" when there is none.
func hostOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(u.Hostname(), ".")
}

var (
	// IAM takes an issuer by https, without a port.
	// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_create_oidc.html
	issuerURL = matches(`https://[a-z0-9]([a-z0-9.-]*[a-z0-9])?(/[A-Za-z0-9._~-]+)*`,
		"an https URL without a port and without a / at its end, such as https://gitlab.com")

	// Project and branch end up in the conditions of roles, where * and ? would stand for others too.
	projectPath = matches(`[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)+`,
		"the full path of a project such as platform/gitlab-codedeploy")
)

var branchCharacters = matches(`[A-Za-z0-9_][A-Za-z0-9._/-]{0,254}`,
	"the name of a branch: up to 255 letters, digits and . _ / -, beginning with a letter, digit or _")

func branchName(name string) string {
	if strings.HasPrefix(name, "refs/") {
		return "the name of a branch without refs/heads/"
	}
	return branchCharacters.want(name)
}
