package constructs

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/aws/constructs-go/constructs/v10"
)

// OperationsProps configures [NewOperations].
type OperationsProps struct {
	// Environment is part of the documents' names. Required.
	Environment string

	// Program does the operations. Required.
	Program *HostProgram

	// What an operation works with, and nobody who starts one has a say in. All are
	// required.

	// Region is the AWS region of the stack.
	Region string
	// ExternalURL is the address that users see, https://HOST.
	ExternalURL string
	// BackupBucketName is the bucket of backups.
	BackupBucketName *string
	// RepositoryURL is the base URL of the package repositories.
	RepositoryURL string
	// RunnerToken is the way of a runner's token to its host.
	RunnerToken *RunnerToken
	// Runner is the host of the jobs.
	Runner *Runner
	// RunnerRepositoryURL is the base URL of the runner's package repositories.
	RunnerRepositoryURL string
	// JobImage is the Docker image of jobs that name none, JobTags are the tags of those
	// that the runner takes (none: those without any), and ConcurrentJobs is how many run
	// at a time.
	JobImage       string
	JobTags        []string
	ConcurrentJobs int
}

// Operations are the SSM documents that scripts/ops sends, one an operation,
// named "gitlab-codedeploy-<environment>-<operation>". The names are fixed:
// operators' IAM policies name them (docs/operations.md), and scripts/ops finds
// a document by its name alone. A changed program is a new version.
//
//	scripts/ops backup ── SendCommand ──▶ …-backup ──▶ systemd unit on the host
//	                   ── SendCommand ──▶ …-follow ──▶ its log, result and exit status
type Operations struct {
	// Documents by operation.
	Documents map[string]*HostDocument
}

// NewOperations defines Operations under scope.
func NewOperations(scope constructs.Construct, id string, props OperationsProps) *Operations {
	scope = constructs.NewConstruct(scope, &id)
	documents := map[string]*HostDocument{}
	for _, op := range operations {
		documents[op.name] = NewHostDocument(scope, op.id, HostDocumentProps{
			Program:        props.Program,
			Command:        op.name,
			Name:           fmt.Sprintf("gitlab-codedeploy-%s-%s", props.Environment, op.name),
			Description:    fmt.Sprintf("On %s: %s", op.host, op.does),
			Arguments:      op.fixed(props),
			Parameters:     op.parameters,
			TimeoutSeconds: operationSeconds,
			Detached:       !op.attached,
		})
	}
	return &Operations{Documents: documents}
}

// operationSeconds is enough for a document that only starts a unit, or shows
// what one says. How long the unit may take is the program's own affair.
const operationSeconds = 120

// operation is one document of [Operations].
type operation struct {
	// name is the operation in scripts/ops and the end of the document's name;
	// id is the construct's.
	name, id string
	// arguments are the command's that are the same in every run. Optional.
	arguments func(OperationsProps) []DocumentArgument
	// host says where it is run: the server, the runner, or either.
	host string
	// does ends the document's description.
	does string
	// parameters become further arguments.
	parameters []DocumentParameter
	// attached keeps it in the document's own process, for one that only looks and
	// ends at once.
	attached bool
}

func (o operation) fixed(props OperationsProps) []DocumentArgument {
	if o.arguments == nil {
		return nil
	}
	return o.arguments(props)
}

// Arguments of several operations.
func externalURL(props OperationsProps) []DocumentArgument {
	return []DocumentArgument{{Flag: "--external-url", Value: props.ExternalURL}}
}

func backupBucket(props OperationsProps) []DocumentArgument {
	return []DocumentArgument{{Flag: "--bucket", Value: *props.BackupBucketName}, {Flag: "--region", Value: props.Region}}
}

// packagesAndBackups are GitLab's packages and this GitLab's backups.
func packagesAndBackups(props OperationsProps) []DocumentArgument {
	return append(backupBucket(props), DocumentArgument{Flag: "--repository-url", Value: props.RepositoryURL})
}

// countedBackups are told to CloudWatch, where an alarm waits for them.
func countedBackups(props OperationsProps) []DocumentArgument {
	return append(backupBucket(props), DocumentArgument{Flag: "--environment", Value: props.Environment})
}

func nameOfRunner(props OperationsProps) []DocumentArgument {
	return []DocumentArgument{{Flag: "--name", Value: "gitlab-codedeploy-" + props.Environment}}
}

// registration is all of what a runner is registered with: who could choose GitLab's
// address would have its token.
func registration(props OperationsProps) []DocumentArgument {
	arguments := append(nameOfRunner(props),
		DocumentArgument{Flag: "--url", Value: props.ExternalURL},
		DocumentArgument{Flag: "--parameter", Value: props.RunnerToken.ParameterName},
		DocumentArgument{Flag: "--region", Value: props.Region},
		jobRoleArgument(props.Runner),
		DocumentArgument{Flag: "--image", Value: props.JobImage},
		DocumentArgument{Flag: "--concurrency", Value: strconv.Itoa(props.ConcurrentJobs)})
	if len(props.JobTags) > 0 {
		arguments = append(arguments, DocumentArgument{Flag: "--tags", Value: strings.Join(props.JobTags, ",")})
	}
	return arguments
}

// tokenOfRunner is where the server puts a token: who could choose the parameter and its
// key would read it there.
func tokenOfRunner(props OperationsProps) []DocumentArgument {
	arguments := append(nameOfRunner(props),
		DocumentArgument{Flag: "--parameter", Value: props.RunnerToken.ParameterName},
		DocumentArgument{Flag: "--key", Value: *props.RunnerToken.Key.KeyArn()},
		DocumentArgument{Flag: "--region", Value: props.Region})
	if len(props.JobTags) > 0 {
		arguments = append(arguments, DocumentArgument{Flag: "--tags", Value: strings.Join(props.JobTags, ",")})
	}
	return arguments
}

// Hosts of operations.
const (
	onServer = "the GitLab server"
	onRunner = "the runner"
	onEither = "either host"
)

// operations is the table of all documents. Each parameter's pattern lets
// through neither quotes, $, backticks, backslashes, braces, semicolons nor
// line ends: the value stands between single quotes in a root shell.
var operations = []operation{
	{
		name: "follow", id: "Follow", host: onEither, attached: true,
		does: "show how an operation is getting on",
		parameters: []DocumentParameter{
			{Name: "Run", Flag: "--run", Description: "A run's id, or an operation for its newest run", Pattern: `^(` + runIDPattern + `|[a-z][a-z-]{0,40})$`},
			{Name: "LogFrom", Flag: "--log-from", Description: "Where to go on in the log, in bytes", Pattern: `^(0|[1-9][0-9]{0,11})$`, Optional: true, Default: "0"},
			{Name: "ResultFrom", Flag: "--result-from", Description: "Where to go on in the result, in bytes", Pattern: `^(0|[1-9][0-9]{0,11})$`, Optional: true, Default: "0"},
			{Name: "Wait", Flag: "--wait", Description: "Longest time to wait for something new, in seconds", Pattern: `^(0|[1-9][0-9]?)$`, Optional: true, Default: "0"},
		},
	},
	{
		name: "status", id: "Status", host: onServer,
		does: "show versions, services, sign-up, disk, migrations, runners and operations",
	},
	{
		name: "keys", id: "Keys", host: onServer, attached: true,
		does:      "show the public keys that GitLab signs with",
		arguments: externalURL,
	},
	{
		name: "backup", id: "Backup", host: onServer,
		does:      "make a complete backup of GitLab and store it in the bucket",
		arguments: countedBackups,
		parameters: []DocumentParameter{
			{Name: "KeepDays", Flag: "--keep-days", Description: "Remove backups that are older, in days; 0 keeps all", Pattern: `^(0|[1-9][0-9]{0,3})$`, Optional: true, Default: "0"},
		},
	},
	{
		name: "restore", id: "Restore", host: onServer,
		does: "put a backup in the place of what GitLab holds; the sender has to ask before",
		arguments: func(props OperationsProps) []DocumentArgument {
			return append(backupBucket(props), DocumentArgument{Flag: "--yes", Value: "yes"})
		},
		parameters: []DocumentParameter{
			{Name: "Backup", Flag: "--backup", Description: "Id of the backup", Pattern: `^[0-9]{10}_[0-9]{4}_[0-9]{2}_[0-9]{2}_[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{1,2}(-ee)?$`},
			{Name: "AcceptLost", Flag: "--accept-lost", Description: "How many repositories, that the last restore of it left behind, may be lost", Pattern: `^(0|[1-9][0-9]{0,4})$`, Optional: true, Default: "0"},
			{Name: "KeepSignUp", Flag: "--keep-sign-up", Description: "yes: leave sign-up as it is in the backup", Pattern: `^(yes|no)$`, Optional: true, Default: "no"},
		},
	},
	{
		name: "reset-tokens", id: "ResetTokens", host: onServer,
		does: "reset the tokens that register runners, or all that lost secrets make useless",
		parameters: []DocumentParameter{
			{Name: "LostSecrets", Flag: "--lost-secrets", Description: "yes: also everything that only the lost secrets could decrypt", Pattern: `^(yes|no)$`},
			{Name: "SignUp", Flag: "--sign-up", Description: "close: nobody can make an account by themselves any more", Pattern: `^(keep|close)$`, Optional: true, Default: "keep"},
			{Name: "Check", Flag: "--check", Description: "yes: only show what would be reset", Pattern: `^(yes|no)$`},
			{Name: "Yes", Flag: "--yes", Description: "yes: it was confirmed", Pattern: `^(yes|no)$`},
		},
	},
	{
		name: "configure", id: "Configure", host: onServer,
		does:      "bring our settings up to date, or take them back",
		arguments: externalURL,
		parameters: []DocumentParameter{
			{Name: "Check", Flag: "--check", Description: "yes: only show the difference", Pattern: `^(yes|no)$`},
			{Name: "Yes", Flag: "--yes", Description: "yes: it was confirmed", Pattern: `^(yes|no)$`},
		},
	},
	{
		name: "reindex", id: "Reindex", host: onServer,
		does: "rebuild the database's indexes, when the host sorts text otherwise than they are sorted",
		parameters: []DocumentParameter{
			{Name: "Check", Flag: "--check", Description: "yes: only say what would be rebuilt", Pattern: `^(yes|no)$`},
			{Name: "Yes", Flag: "--yes", Description: "yes: it was confirmed", Pattern: `^(yes|no)$`},
		},
	},
	{
		name: "runner-token", id: "RunnerToken", host: onServer,
		does:      "hand a runner's token over, or say whether the runner is online",
		arguments: tokenOfRunner,
		parameters: []DocumentParameter{
			{Name: "Action", Flag: "--action", Description: "issue or online", Pattern: `^(issue|online)$`},
		},
	},
	{
		name: "register-runner", id: "RegisterRunner", host: onRunner,
		does:      "register the runner with the token that was handed over",
		arguments: registration,
		parameters: []DocumentParameter{
			{Name: "Action", Flag: "--action", Description: "check or register", Pattern: `^(check|register)$`},
		},
	},
	{
		name: "unregister-runner", id: "UnregisterRunner", host: onRunner,
		does:      "take the runner out of GitLab and of its configuration",
		arguments: nameOfRunner,
	},
	{
		name: "upgrade", id: "Upgrade", host: onServer,
		does:      "upgrade GitLab stop by stop, or check whether it can be; the sender has to ask before",
		arguments: packagesAndBackups,
		parameters: []DocumentParameter{
			{Name: "Mode", Flag: "--mode", Description: "run; preflight or plan to change nothing", Pattern: `^(run|preflight|plan)$`},
			{Name: "From", Flag: "--from", Description: "Version that has to be installed; nothing for any", Pattern: `^([0-9]{1,2}\.[0-9]{1,2}\.[0-9]{1,2})?$`, Optional: true},
			{Name: "To", Flag: "--to", Description: "The last stop; nothing for the first version without a known hole", Pattern: `^([0-9]{1,2}\.[0-9]{1,2}\.[0-9]{1,2})?$`, Optional: true},
			{Name: "BackupEachHop", Flag: "--backup-each-hop", Description: "no: without a backup of before", Pattern: `^(yes|no)$`, Optional: true, Default: "yes"},
			{Name: "FixKnownJobs", Flag: "--fix-known-jobs", Description: "yes: documented remedies for migrations that are stuck", Pattern: `^(yes|no)$`, Optional: true, Default: "no"},
		},
	},
	{
		name: "upgrade-runner", id: "UpgradeRunner", host: onRunner,
		does: "bring GitLab Runner to a version when its jobs have ended",
		arguments: func(props OperationsProps) []DocumentArgument {
			return []DocumentArgument{{Flag: "--repository-url", Value: props.RunnerRepositoryURL}}
		},
		parameters: []DocumentParameter{
			{Name: "Version", Flag: "--version", Description: "GitLab Runner version, or a minor for its newest patch", Pattern: `^[0-9]{1,2}\.[0-9]{1,2}(\.[0-9]{1,2})?$`},
			{Name: "JobsTimeout", Flag: "--jobs-timeout", Description: "Longest wait for running jobs, in seconds", Pattern: `^(0|[1-9][0-9]{0,5})$`, Optional: true, Default: "7200"},
		},
	},
}
