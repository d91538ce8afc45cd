package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/spf13/cobra"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/beginning"
	"gitlab-codedeploy/internal/calls"
	"gitlab-codedeploy/internal/config"
	"gitlab-codedeploy/internal/gitlab"
	"gitlab-codedeploy/internal/plain"
)

// beginner is a run of init.
type beginner struct {
	*program
	o                    options
	profiles             map[account.Side]*string
	region, domain       string
	certificate, zone    string
	allow, groups        []string
	version, bucket      string
	network, email       string
	serverType, hostType string
	missing              []string // flags that have no value, and nobody can be asked
}

func (p *program) init() *cobra.Command {
	b := &beginner{program: p}
	command := &cobra.Command{
		Use:   "init --env NAME --profile-a PROFILE --profile-b PROFILE",
		Short: "Begin an environment: write config/NAME.yaml with what can be found out",
		Long: `Finds out the ids of both accounts, zones, a range that overlaps with no VPC, the newest
images, a certificate or a hosted zone for GitLab's name, and CodeDeploy's blue/green
groups; asks on a terminal for what is left, and for what was found whether it is right.
A flag answers its question; with --yes, or without a terminal, nothing is asked.

The file has every key that there is: with its value, or as a comment when it may be left
out. A file that exists is overwritten only after a question. Nothing is made in AWS.`,
		Example: "  scripts/ops init --env production --profile-a gitlab-account --profile-b deploy-account\n" +
			"  scripts/ops init --env production --profile-a a --profile-b b --domain gitlab.example.com --allow 203.0.113.0/24 --yes",
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return b.run(c.Context()) },
	}
	b.o.forEnvironment(command)
	flags := command.Flags()
	b.profiles = map[account.Side]*string{
		account.GitLab: flags.String("profile-a", "", "AWS profile of GitLab's account; default: what the AWS SDK finds by itself"),
		account.Deploy: flags.String("profile-b", "", "AWS profile of the account that is deployed to; default: what the AWS SDK finds by itself"),
	}
	flags.StringVar(&b.region, "region", "", "region of both stacks; default: that of GitLab's profile")
	flags.StringVar(&b.domain, "domain", "", "host name of GitLab, such as gitlab.example.com")
	flags.StringVar(&b.certificate, "certificate", "", "ARN of the certificate; default: an issued one for the name")
	flags.StringVar(&b.zone, "hosted-zone", "", "id of the hosted zone that the stack makes a certificate in; default: the one that the name lies in")
	flags.StringSliceVar(&b.allow, "allow", nil, "ranges that may reach GitLab, such as 203.0.113.0/24; may be repeated")
	flags.StringVar(&b.version, "version-gitlab", "", "GitLab version to install, that of the backup when an old GitLab moves in; default: one without a known hole")
	flags.StringVar(&b.bucket, "bucket", "", "name of the artifact bucket; default: artifacts-NAME-ACCOUNT")
	flags.StringVar(&b.network, "vpc-cidr", "", "range of the VPC, /16 to /25; default: the first of 10.20.0.0/16 and so on that overlaps with no VPC")
	flags.StringSliceVar(&b.groups, "group", nil, "application/deployment-group that may be deployed to; may be repeated; default: all blue/green groups")
	flags.StringVar(&b.email, "alarm-email", "", "address that alarms are sent to; default: none")
	flags.StringVar(&b.serverType, "server-type", "m5.xlarge", "instance type of the server")
	flags.StringVar(&b.hostType, "runner-type", "t3.large", "instance type of the runner")
	return command
}

func (b *beginner) run(ctx context.Context) error {
	if !config.IsEnvironment(b.o.environment) {
		return usageError{fmt.Errorf("--env: got %q, want a lower-case letter, then up to 19 lower-case letters, digits and hyphens", b.o.environment)}
	}
	file := filepath.Join(b.configs, b.o.environment+".yaml")
	example, err := os.ReadFile(filepath.Join(b.configs, "staging.yaml"))
	if err != nil {
		return fmt.Errorf("read the example: %w", err)
	}
	if _, err := os.Lstat(file); err == nil {
		if err := b.confirm(b.o, file+" exists. Overwrite it?"); err != nil {
			return err
		}
	}
	answers, err := b.answers(ctx)
	if err != nil {
		return err
	}
	text, err := beginning.File(example, answers)
	if err != nil {
		return fmt.Errorf("make %s of %s: %w", file, filepath.Join(b.configs, "staging.yaml"), err)
	}
	if err := config.Check(file, b.o.environment, text); err != nil {
		return usageError{fmt.Errorf("nothing was written; these answers make no environment: %w", err)}
	}
	if b.o.dryRun {
		return calls.ErrDryRun
	}
	if err := writeFile(file, text); err != nil {
		return err
	}
	_, _ = fmt.Fprintln(b.stdout, file)
	b.log("read it through, commit it; then scripts/ops doctor --env %s, and scripts/ops deploy --env %s", b.o.environment, b.o.environment)
	return nil
}

// answers are those of the flags, of both accounts and of whoever sits at the terminal.
func (b *beginner) answers(ctx context.Context) (beginning.Answers, error) {
	a := beginning.Answers{Environment: b.o.environment, AlarmEmail: b.email, ServerInstance: b.serverType, RunnerInstance: b.hostType}
	gitlabAWS, err := b.enterUnknown(ctx, account.GitLab, b.region, &a.GitLabAccount)
	if err != nil {
		return a, err
	}
	a.Region = b.ask("--region", "Region of both stacks", b.region, gitlabAWS.Region)
	if a.Region == "" {
		return a, b.needed()
	}
	gitlabAWS.Region = a.Region
	deployAWS, err := b.enterUnknown(ctx, account.Deploy, a.Region, &a.DeployAccount)
	if err != nil {
		return a, err
	}
	if a.GitLabAccount == a.DeployAccount {
		return a, usageError{fmt.Errorf("both profiles are of account %s: GitLab and what it deploys to are two accounts", a.GitLabAccount)}
	}
	b.log("account A is %s, account B is %s; asking both what there is in %s", a.GitLabAccount, a.DeployAccount, a.Region)
	found, err := beginning.Look(ctx, gitlabAWS, deployAWS)
	if err != nil {
		return a, err
	}
	a.Zones = found.Zones
	if err := b.askForNetwork(&a, found); err != nil {
		return a, err
	}
	if err := b.askForName(&a, found); err != nil {
		return a, err
	}
	if err := b.askForVersion(&a); err != nil {
		return a, err
	}
	if a.Bucket = b.ask("--bucket", "Name of the artifact bucket, unique in all of AWS", b.bucket, "artifacts-"+a.Environment+"-"+a.DeployAccount); len(b.missing) > 0 {
		return a, b.needed()
	}
	if err := b.askForGroups(&a, found); err != nil {
		return a, err
	}
	if b.email == "" && b.asks() {
		a.AlarmEmail = b.ask("--alarm-email", "Address that alarms are sent to, Enter for none", "", "")
	}
	server := config.Server{OperatingSystem: serverSystem(a), InstanceType: a.ServerInstance}
	a.ServerSystem = server.OperatingSystem
	a.ServerImage, a.RunnerImage, err = beginning.Images(ctx, ssm.NewFromConfig(gitlabAWS),
		server, config.Runner{OperatingSystem: config.AmazonLinux2023, InstanceType: a.RunnerInstance})
	return a, err
}

// serverSystem is the newest operating system that GitLab has a package of that version for: an old one has to begin on
// Amazon Linux 2.
func serverSystem(a beginning.Answers) string {
	version, err := gitlab.ParseVersion(a.GitLabVersion)
	if err != nil {
		return config.AmazonLinux2 // refused as a version
	}
	architecture := config.Server{InstanceType: a.ServerInstance}.Architecture()
	if _, published := gitlab.PackageOf("gitlab", config.AmazonLinux2023, architecture, version); published {
		return config.AmazonLinux2023
	}
	return config.AmazonLinux2
}

// enterUnknown opens an account that is not known yet, and says which one it is.
func (b *beginner) enterUnknown(ctx context.Context, side account.Side, region string, id *string) (aws.Config, error) {
	profile := *b.profiles[side]
	loaded, err := b.open(ctx, region, profile)
	if err != nil {
		return loaded, usageError{fmt.Errorf("profile %q: %w", profile, err)}
	}
	if b.watch != nil {
		calls.Watch(&loaded, func(ctx context.Context, call calls.Call) error { return b.watch(ctx, side, call) })
	}
	if b.o.dryRun {
		calls.DryRun(&loaded, b.stdout)
	}
	// Which Region is asked who asks is all the same.
	who, err := sts.NewFromConfig(loaded, func(o *sts.Options) { o.Region = cmp.Or(o.Region, "us-east-1") }).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return loaded, usageError{fmt.Errorf("profile %q gives no credentials: %w; sign in again (aws sso login) or name another profile", profile, err)}
	}
	*id = aws.ToString(who.Account)
	return loaded, nil
}

func (b *beginner) askForNetwork(a *beginning.Answers, found beginning.Found) error {
	proposed, err := found.FreeNetwork()
	if err != nil && b.network == "" && !b.asks() {
		return err
	}
	text := b.ask("--vpc-cidr", "Range of the VPC; it cannot be changed later", b.network, proposed.VPC)
	if a.Network, err = beginning.Divide(text); err != nil {
		return usageError{fmt.Errorf("--vpc-cidr: %w", err)}
	}
	return nil
}

// askForName asks for GitLab's name, who may reach it, and what certificate it has.
func (b *beginner) askForName(a *beginning.Answers, found beginning.Found) error {
	proposed := ""
	if len(found.HostedZones) > 0 {
		proposed = "gitlab." + found.HostedZones[0].Name
	}
	if !b.asks() {
		proposed = "" // a name that nobody has seen is none
	}
	a.DomainName = b.ask("--domain", "Host name of GitLab", b.domain, proposed)
	ranges := b.ask("--allow", "Ranges that may reach GitLab, divided by commas", strings.Join(b.allow, ","), "")
	for r := range strings.SplitSeq(ranges, ",") {
		if r = strings.TrimSpace(r); r != "" {
			a.AllowedRanges = append(a.AllowedRanges, r)
		}
	}
	if len(b.missing) > 0 {
		return b.needed()
	}
	switch arn, has := found.CertificateFor(a.DomainName); {
	case b.certificate != "" && b.zone != "":
		return usageError{errors.New("--certificate and --hosted-zone: want one of them")}
	case b.certificate != "":
		a.CertificateARN = b.certificate
		return nil
	case b.zone == "" && has:
		a.CertificateARN = arn
		b.log("certificate for %s: %s", a.DomainName, arn)
		return nil
	}
	zone, has := found.HostedZoneFor(a.DomainName)
	if b.zone != "" && (!has || zone.ID != b.zone) {
		return usageError{fmt.Errorf("--hosted-zone: %q is no public zone of account A that %s lies in", b.zone, a.DomainName)}
	}
	if !has {
		return usageError{fmt.Errorf("account A has neither an issued certificate for %s in %s nor a public hosted zone that it lies in: make one of them (https://docs.aws.amazon.com/acm/latest/userguide/gs-acm-request-public.html), or name a certificate with --certificate",
			plain.Line(a.DomainName, 253), a.Region)}
	}
	b.log("hosted zone for %s: %s, %s", a.DomainName, zone.Name, zone.ID)
	a.HostedZone = &zone
	return nil
}

// askForVersion asks for GitLab's version. The runner's is the first one of its minor.
func (b *beginner) askForVersion(a *beginning.Answers) error {
	oldest := gitlab.Stops()[0].Version
	a.GitLabVersion = b.ask("--version-gitlab", "GitLab version to install; that of the backup when an old GitLab moves in", b.version, gitlab.SafeFrom(oldest).String())
	version, err := gitlab.ParseVersion(a.GitLabVersion)
	if err != nil {
		return usageError{fmt.Errorf("--version-gitlab: %w", err)}
	}
	a.RunnerVersion = fmt.Sprintf("%d.%d.0", version.Major, version.Minor)
	return nil
}

// The sample that scripts/ops sample makes, where there is no group yet.
const sampleGroup = "sample-web/sample-web-blue-green"

func (b *beginner) askForGroups(a *beginning.Answers, found beginning.Found) error {
	var names []string
	for _, group := range found.Groups {
		names = append(names, group.Application+"/"+group.DeploymentGroup)
	}
	proposed := strings.Join(names, ",")
	if len(names) == 0 {
		b.log("account B has no blue/green deployment group in %s yet", a.Region)
		proposed = sampleGroup
	}
	for text := range strings.SplitSeq(b.ask("--group", "Blue/green groups that may be deployed to, as application/deployment-group, divided by commas", strings.Join(b.groups, ","), proposed), ",") {
		application, group, both := strings.Cut(strings.TrimSpace(text), "/")
		if !both {
			return usageError{fmt.Errorf("--group: got %q, want application/deployment-group", text)}
		}
		a.Groups = append(a.Groups, beginning.Group{Application: application, DeploymentGroup: group})
	}
	return nil
}

// asks says whether there is somebody to ask.
func (b *beginner) asks() bool { return b.terminal && !b.o.yes }

// ask answers with a flag's value, or with what is typed, or with what is proposed. A flag without any of them is missing.
func (b *beginner) ask(flag, question, given, proposed string) string {
	if given != "" {
		return given
	}
	if b.asks() {
		shown := ""
		if proposed != "" {
			shown = " [" + plain.Line(proposed, 500) + "]"
		}
		_, _ = fmt.Fprintf(b.stderr, "%s%s: ", question, shown)
		given = b.answer()
	}
	if given == "" {
		given = proposed
	}
	if given == "" && flag != "--alarm-email" {
		b.missing = append(b.missing, flag)
	}
	return given
}

// needed names what has no answer.
func (b *beginner) needed() error {
	return usageError{fmt.Errorf("nothing can be found out of, and nobody has said: %s", strings.Join(b.missing, ", "))}
}

// writeFile writes a file in one step: half a file is none.
func writeFile(file string, text []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+"-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(text)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}
