package main

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/backups"
	"gitlab-codedeploy/internal/config"
)

// completionTime bounds what a key press waits for an account.
const completionTime = 5 * time.Second

// completed are the flags whose values can be known, wherever they are.
func (p *program) completed() map[string]func(*cobra.Command) []string {
	return map[string]func(*cobra.Command) []string{
		"env":              func(*cobra.Command) []string { return p.environments() },
		"application":      p.applications,
		"deployment-group": p.deploymentGroups,
		"backup":           p.backupIDs,
		"host":             func(*cobra.Command) []string { return []string{"server", "runner"} },
		"account":          func(*cobra.Command) []string { return []string{"a", "b"} },
		"only":             func(*cobra.Command) []string { return []string{"a", "b"} },
	}
}

// completing lets a shell complete the values of a command's flags, and of those below it. What cannot be known completes
// nothing: a shell has no place for errors.
func (p *program) completing(c *cobra.Command) {
	for name, values := range p.completed() {
		if c.Flags().Lookup(name) == nil {
			continue
		}
		// It fails only for a flag that does not exist, or has its values already.
		_ = c.RegisterFlagCompletionFunc(name, func(c *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
			fitting := slices.DeleteFunc(values(c), func(value string) bool { return !strings.HasPrefix(value, begun) })
			return fitting, cobra.ShellCompDirectiveNoFileComp
		})
	}
	for _, below := range c.Commands() {
		p.completing(below)
	}
}

// environments are the files of the configuration.
func (p *program) environments() []string {
	files, _ := filepath.Glob(filepath.Join(p.configs, "*.yaml")) // the pattern is a good one
	var names []string
	for _, file := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(file), ".yaml"))
	}
	return names
}

// groups are the pairs of the environment that the line has already, if any.
func (p *program) groups(c *cobra.Command) []config.DeploymentGroup {
	cfg, err := config.Load(p.configs, flagOf(c, "env"))
	if err != nil {
		return nil
	}
	return cfg.Deploy.DeploymentGroups
}

func flagOf(c *cobra.Command, name string) string {
	if flag := c.Flags().Lookup(name); flag != nil {
		return flag.Value.String()
	}
	return ""
}

func (p *program) applications(c *cobra.Command) []string {
	var names []string
	for _, pair := range p.groups(c) {
		names = append(names, pair.Application)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// deploymentGroups are those of the application that the line has already, else all.
func (p *program) deploymentGroups(c *cobra.Command) []string {
	application := flagOf(c, "application")
	var names []string
	for _, pair := range p.groups(c) {
		if application == "" || pair.Application == application {
			names = append(names, pair.DeploymentGroup)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// backupIDs are those of the account, the newest first.
func (p *program) backupIDs(c *cobra.Command) []string {
	ctx := c.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, running{}, c.Name()), completionTime)
	defer cancel()
	a, err := p.openAccount(ctx, options{environment: flagOf(c, "env"), profile: flagOf(c, "profile")}, account.GitLab)
	if err != nil {
		return nil
	}
	bucket, err := a.BackupBucket()
	if err != nil {
		return nil
	}
	ids, err := backups.IDs(ctx, s3.NewFromConfig(a.AWS), bucket)
	if err != nil {
		return nil
	}
	return ids
}
