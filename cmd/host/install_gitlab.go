//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/gitlab"
	"gitlab-codedeploy/internal/install"
	"gitlab-codedeploy/internal/omnibus"
	"gitlab-codedeploy/internal/packages"
)

func newInstallGitLab(p program) *cobra.Command {
	g := install.GitLab{Machine: p.machine}
	var version, secret, region, done string
	command := &cobra.Command{
		Use:   "install-gitlab --version X.Y.Z …",
		Short: "Install GitLab on this host, which has none",
		Long: `Installs GitLab on a host of Amazon Linux 2, or from GitLab 16.3 on of 2023, that has none:
mounts the data volume at /var/opt/gitlab, keeps /etc/gitlab on it too, writes the settings
for TLS that ends at a load balancer, installs exactly that version, waits for the sign-in
page, and switches sign-up off.

The volume is formatted only when it is blank. An earlier server's data stays in use, with its
own settings and its own choice of sign-up. A host that has GitLab already is left exactly as
it is. A run that was interrupted is resumed by the next one.

What the packages say is in /var/log/gitlab-codedeploy-install.log.`,
	}
	flags := command.Flags()
	flags.StringVar(&version, "version", "", "exact GitLab version, such as 13.10.2 (required)")
	flags.StringVar(&g.Edition, "edition", "", "ce or ee (required)")
	flags.StringVar(&g.RepositoryURL, "repository-url", "", "where the repositories gitlab-ce and gitlab-ee are (required)")
	flags.StringVar(&g.Address, "external-url", "", "the address that users see (required)")
	flags.StringVar(&g.DataVolume, "data-volume", "", "EBS volume for /var/opt/gitlab (required)")
	flags.StringVar(&secret, "root-password-secret", "", "ARN of the secret with the first password of GitLab's user root, as plain text (required)")
	flags.StringVar(&region, "region", "", "AWS region of the secret (required)")
	return p.signals(p.add(job{
		command: command,
		check: func() (err error) {
			g.Version, err = gitlab.ParseVersion(version)
			if err != nil {
				err = fmt.Errorf("--version: %w", err)
			}
			return errors.Join(err,
				matching("edition", g.Edition, `ce|ee`, "ce or ee"),
				matching("repository-url", g.RepositoryURL, packages.URLPattern, "the https address of a package repository"),
				matching("external-url", g.Address, omnibus.AddressPattern, "https:// and a host name, without port or path"),
				matching("data-volume", g.DataVolume, `vol-[0-9a-f]{8,17}`, "the id of an EBS volume such as vol-0123456789abcdef0"),
				matching("root-password-secret", secret, `arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:[A-Za-z0-9/_+=.@-]+`, "the ARN of a secret"),
				matching("region", region, `[a-z]{2}(-[a-z]+)+-[0-9]`, "a region such as ap-northeast-1"))
		},
		do: func(ctx context.Context) (err error) {
			g.RootPassword = func(ctx context.Context) (string, error) {
				account, err := p.aws(ctx, region)
				if err != nil {
					return "", err
				}
				out, err := secretsmanager.NewFromConfig(account).GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &secret})
				switch {
				case err != nil:
					return "", fmt.Errorf("cannot read the secret %s in %s: %w", secret, region, err)
				case out.SecretString == nil:
					return "", nil
				}
				return *out.SecretString, nil
			}
			done, err = g.Install(ctx)
			return err
		},
	}), "gitlab", &done)
}
