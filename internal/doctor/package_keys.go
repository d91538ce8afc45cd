package doctor

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"gitlab-codedeploy/internal/gitlab"
)

// packageKeys fetches the keys that packages of the configured versions are signed with, from where the hosts fetch them, and
// compares them with the fingerprints that are known. A key counts by its fingerprint alone, whatever its address.
func packageKeys(ctx context.Context, l *look) []Finding {
	server, runner := l.config.GitLab.Server, l.config.GitLab.Runner
	var found []Finding
	for _, key := range gitlab.ServerKeys(server.Version) {
		name := "gitlab-" + server.Edition
		found = append(found, l.packageKey(ctx, name, key, server.PackageRepositoryURL,
			fmt.Sprintf("/%s/gpgkey/gitlab-%s-%s.pub.gpg", name, name, key.ID), fmt.Sprintf("/gpgkey/gitlab/%s.pub.gpg", key.ID)))
	}
	for _, key := range gitlab.RunnerKeys(runner.Version) {
		found = append(found, l.packageKey(ctx, "gitlab-runner", key, runner.PackageRepositoryURL,
			fmt.Sprintf("/gitlab-runner/gpgkey/runner-gitlab-runner-%s.pub.gpg", key.ID), fmt.Sprintf("/gpgkey/runner/%s.pub.gpg", key.ID)))
	}
	return found
}

// packageKey tries the address below the repository, and that of the whole host, where the files move to.
func (l *look) packageKey(ctx context.Context, product string, key gitlab.SigningKey, base, below, above string) Finding {
	check := "key " + key.ID + " of " + product
	host := base
	if u, err := url.Parse(base); err == nil {
		host = u.Scheme + "://" + u.Host
	}
	var last error
	for _, address := range []string{base + below, host + above} {
		fingerprint, err := l.fingerprint(ctx, address)
		if err != nil {
			last = err
			continue
		}
		f := ok("%s has %s", address, fingerprint)
		if !key.Is(fingerprint) {
			f = wrong("do not install from there before you know who put it there: GitLab's page on its package signatures lists the keys",
				"%s has the key %s, want %s", address, fingerprint, strings.Join(key.Fingerprints, " or "))
		}
		f.Check = check
		return f
	}
	f := unchecked("from this machine neither address has it: %s. What counts is whether the hosts reach it", said(last))
	f.Check = check
	return f
}

// maxKey bounds what is read of an address.
const maxKey = 1 << 20

// fingerprint is that of the only key at an address.
func (l *look) fingerprint(ctx context.Context, address string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", err
	}
	response, err := l.HTTP.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s answered %s", address, response.Status)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxKey))
	if err != nil {
		return "", err
	}
	fingerprint, err := gitlab.KeyFingerprint(string(text))
	if err != nil {
		return "", fmt.Errorf("%s: %w", address, err)
	}
	return fingerprint, nil
}
