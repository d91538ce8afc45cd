package config

import "strings"

func (d *document) validatePipeline(pipeline *Pipeline) {
	check(d, &pipeline.IssuerURL, issuerURL)
	check(d, &pipeline.ProjectPath, projectPath)
	check(d, &pipeline.Branch, branchName)
}

var (
	// IAM takes an issuer by https, without a port.
	// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_create_oidc.html
	issuerURL = matches(`https://[a-z0-9]([a-z0-9.-]*[a-z0-9])?(/[A-Za-z0-9._~-]+)*`,
		"an https URL without a port and without a / at its end, such as https://gitlab.example.com")

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
	return branchCharacters(name)
}
