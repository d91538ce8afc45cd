package constructs

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/aws/constructs-go/constructs/v10"
)

// OperationsProps configures [NewOperations].
type OperationsProps struct {
	// Root is the folder of the project, where the scripts are. Required.
	Root string

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
// a document by its name alone. A changed script is a new version.
//
//	scripts/ops backup ── SendCommand ──▶ …-backup ──▶ systemd unit on the host
//	                   ── SendCommand ──▶ …-follow ──▶ its log, result and exit status
type Operations struct {
	// Documents by operation.
	Documents map[string]*ScriptDocument
}

// NewOperations defines Operations under scope.
func NewOperations(scope constructs.Construct, id string, props OperationsProps) *Operations {
	scope = constructs.NewConstruct(scope, &id)
	documents := map[string]*ScriptDocument{}
	for _, op := range operations {
		if op.command {
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
			continue
		}
		documents[op.name] = NewScriptDocument(scope, op.id, ScriptDocumentProps{
			Root:           props.Root,
			Name:           fmt.Sprintf("gitlab-codedeploy-%s-%s", props.Environment, op.name),
			Script:         op.script,
			Description:    fmt.Sprintf("On %s: %s", op.host, op.does),
			Parameters:     op.parameters,
			TimeoutSeconds: operationSeconds,
			Detached:       !op.attached,
		})
	}
	return &Operations{Documents: documents}
}

// operationSeconds is enough for a document that only starts a unit, or shows
// what one says. How long the unit may take is the script's own affair.
const operationSeconds = 120

// operation is one document of [Operations].
type operation struct {
	// name is the operation in scripts/ops and the end of the document's name;
	// id is the construct's.
	name, id string
	// command says that the hosts' program has it, as a command of that name.
	command bool
	// arguments are the command's that are the same in every run. Optional.
	arguments func(OperationsProps) []ScriptArgument
	// script is the path from the project's root of what the program does not do yet.
	script string
	// host says where it is run: the server, the runner, or either.
	host string
	// does ends the document's description.
	does string
	// parameters become the script's arguments.
	parameters []ScriptParameter
	// attached keeps the script in the document's own process, for one that
	// only looks and ends at once.
	attached bool
}

func (o operation) fixed(props OperationsProps) []ScriptArgument {
	if o.arguments == nil {
		return nil
	}
	return o.arguments(props)
}

// Arguments of several operations.
func externalURL(props OperationsProps) []ScriptArgument {
	return []ScriptArgument{{Flag: "--external-url", Value: props.ExternalURL}}
}

func backupBucket(props OperationsProps) []ScriptArgument {
	return []ScriptArgument{{Flag: "--bucket", Value: *props.BackupBucketName}, {Flag: "--region", Value: props.Region}}
}

// packagesAndBackups are GitLab's packages and this GitLab's backups.
func packagesAndBackups(props OperationsProps) []ScriptArgument {
	return append(backupBucket(props), ScriptArgument{Flag: "--repository-url", Value: props.RepositoryURL})
}

// countedBackups are told to CloudWatch, where an alarm waits for them.
func countedBackups(props OperationsProps) []ScriptArgument {
	return append(backupBucket(props), ScriptArgument{Flag: "--environment", Value: props.Environment})
}

func nameOfRunner(props OperationsProps) []ScriptArgument {
	return []ScriptArgument{{Flag: "--name", Value: "gitlab-codedeploy-" + props.Environment}}
}

// registration is all of what a runner is registered with: who could choose GitLab's
// address would have its token.
func registration(props OperationsProps) []ScriptArgument {
	arguments := append(nameOfRunner(props),
		ScriptArgument{Flag: "--url", Value: props.ExternalURL},
		ScriptArgument{Flag: "--parameter", Value: props.RunnerToken.ParameterName},
		ScriptArgument{Flag: "--region", Value: props.Region},
		ScriptArgument{Flag: "--image", Value: props.JobImage},
		ScriptArgument{Flag: "--concurrency", Value: strconv.Itoa(props.ConcurrentJobs)})
	if len(props.JobTags) > 0 {
		arguments = append(arguments, ScriptArgument{Flag: "--tags", Value: strings.Join(props.JobTags, ",")})
	}
	return arguments
}

// tokenOfRunner is where the server puts a token: who could choose the parameter and its
// key would read it there.
func tokenOfRunner(props OperationsProps) []ScriptArgument {
	arguments := append(nameOfRunner(props),
		ScriptArgument{Flag: "--parameter", Value: props.RunnerToken.ParameterName},
		ScriptArgument{Flag: "--key", Value: *props.RunnerToken.Key.KeyArn()},
		ScriptArgument{Flag: "--region", Value: props.Region})
	if len(props.JobTags) > 0 {
		arguments = append(arguments, ScriptArgument{Flag: "--tags", Value: strings.Join(props.JobTags, ",")})
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
		name: "follow", id: "Follow", command: true, host: onEither, attached: true,
		does: "show how an operation is getting on",
		parameters: []ScriptParameter{
			{Name: "Run", Flag: "--run", Description: "A run's id, or an operation for its newest run", Pattern: `^(` + runIDPattern + `|[a-z][a-z-]{0,40})$`},
			{Name: "LogFrom", Flag: "--log-from", Description: "Where to go on in the log, in bytes", Pattern: `^(0|[1-9][0-9]{0,11})$`, Optional: true, Default: "0"},
			{Name: "ResultFrom", Flag: "--result-from", Description: "Where to go on in the result, in bytes", Pattern: `^(0|[1-9][0-9]{0,11})$`, Optional: true, Default: "0"},
			{Name: "Wait", Flag: "--wait", Description: "Longest time to wait for something new, in seconds", Pattern: `^(0|[1-9][0-9]?)$`, Optional: true, Default: "0"},
		},
	},
	{
		name: "status", id: "Status", command: true, host: onServer,
		does: "show versions, services, sign-up, disk, migrations, runners and operations",
	},
	{
		name: "keys", id: "Keys", command: true, host: onServer, attached: true,
		does:      "show the public keys that GitLab signs with",
		arguments: externalURL,
	},
	{
		name: "backup", id: "Backup", command: true, host: onServer,
		does:      "make a complete backup of GitLab and store it in the bucket",
		arguments: countedBackups,
		parameters: []ScriptParameter{
			{Name: "KeepDays", Flag: "--keep-days", Description: "Remove backups that are older, in days; 0 keeps all", Pattern: `^(0|[1-9][0-9]{0,3})$`, Optional: true, Default: "0"},
		},
	},
	{
		name: "restore", id: "Restore", command: true, host: onServer,
		does: "put a backup in the place of what GitLab holds; the sender has to ask before",
		arguments: func(props OperationsProps) []ScriptArgument {
			return append(backupBucket(props), ScriptArgument{Flag: "--yes", Value: "yes"})
		},
		parameters: []ScriptParameter{
			{Name: "Backup", Flag: "--backup", Description: "Id of the backup", Pattern: `^[0-9]{10}_[0-9]{4}_[0-9]{2}_[0-9]{2}_[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{1,2}(-ee)?$`},
			{Name: "AcceptLost", Flag: "--accept-lost", Description: "How many repositories, that the last restore of it left behind, may be lost", Pattern: `^(0|[1-9][0-9]{0,4})$`, Optional: true, Default: "0"},
			{Name: "KeepSignUp", Flag: "--keep-sign-up", Description: "yes: leave sign-up as it is in the backup", Pattern: `^(yes|no)$`, Optional: true, Default: "no"},
		},
	},
	{
		name: "reset-tokens", id: "ResetTokens", command: true, host: onServer,
		does: "reset the tokens that register runners, or all that lost secrets make useless",
		parameters: []ScriptParameter{
			{Name: "LostSecrets", Flag: "--lost-secrets", Description: "yes: also everything that only the lost secrets could decrypt", Pattern: `^(yes|no)$`},
			{Name: "SignUp", Flag: "--sign-up", Description: "close: nobody can make an account by themselves any more", Pattern: `^(keep|close)$`, Optional: true, Default: "keep"},
			{Name: "Check", Flag: "--check", Description: "yes: only show what would be reset", Pattern: `^(yes|no)$`},
			{Name: "Yes", Flag: "--yes", Description: "yes: it was confirmed", Pattern: `^(yes|no)$`},
		},
	},
	{
		name: "configure", id: "Configure", command: true, host: onServer,
		does:      "bring our settings up to date, or take them back",
		arguments: externalURL,
		parameters: []ScriptParameter{
			{Name: "Check", Flag: "--check", Description: "yes: only show the difference", Pattern: `^(yes|no)$`},
			{Name: "Yes", Flag: "--yes", Description: "yes: it was confirmed", Pattern: `^(yes|no)$`},
		},
	},
	{
		name: "runner-token", id: "RunnerToken", command: true, host: onServer,
		does:      "hand a runner's token over, or say whether the runner is online",
		arguments: tokenOfRunner,
		parameters: []ScriptParameter{
			{Name: "Action", Flag: "--action", Description: "issue or online", Pattern: `^(issue|online)$`},
		},
	},
	{
		name: "register-runner", id: "RegisterRunner", command: true, host: onRunner,
		does:      "register the runner with the token that was handed over",
		arguments: registration,
		parameters: []ScriptParameter{
			{Name: "Action", Flag: "--action", Description: "check or register", Pattern: `^(check|register)$`},
		},
	},
	{
		name: "unregister-runner", id: "UnregisterRunner", command: true, host: onRunner,
		does:      "take the runner out of GitLab and of its configuration",
		arguments: nameOfRunner,
	},
	{
		name: "upgrade", id: "Upgrade", command: true, host: onServer,
		does:      "upgrade GitLab stop by stop, or check whether it can be; the sender has to ask before",
		arguments: packagesAndBackups,
		parameters: []ScriptParameter{
			{Name: "Mode", Flag: "--mode", Description: "run; preflight or plan to change nothing", Pattern: `^(run|preflight|plan)$`},
			{Name: "From", Flag: "--from", Description: "Version that has to be installed; nothing for any", Pattern: `^([0-9]{1,2}\.[0-9]{1,2}\.[0-9]{1,2})?$`, Optional: true},
			{Name: "To", Flag: "--to", Description: "The last stop; nothing for the first version without a known hole", Pattern: `^([0-9]{1,2}\.[0-9]{1,2}\.[0-9]{1,2})?$`, Optional: true},
			{Name: "BackupEachHop", Flag: "--backup-each-hop", Description: "no: without a backup of before", Pattern: `^(yes|no)$`, Optional: true, Default: "yes"},
			{Name: "FixKnownJobs", Flag: "--fix-known-jobs", Description: "yes: documented remedies for migrations that are stuck", Pattern: `^(yes|no)$`, Optional: true, Default: "no"},
		},
	},
	{
		name: "upgrade-runner", id: "UpgradeRunner", command: true, host: onRunner,
		does: "bring GitLab Runner to a version when its jobs have ended",
		arguments: func(props OperationsProps) []ScriptArgument {
			return []ScriptArgument{{Flag: "--repository-url", Value: props.RunnerRepositoryURL}}
		},
		parameters: []ScriptParameter{
			{Name: "Version", Flag: "--version", Description: "GitLab Runner version, or a minor for its newest patch", Pattern: `^[0-9]{1,2}\.[0-9]{1,2}(\.[0-9]{1,2})?$`},
			{Name: "JobsTimeout", Flag: "--jobs-timeout", Description: "Longest wait for running jobs, in seconds", Pattern: `^(0|[1-9][0-9]{0,5})$`, Optional: true, Default: "7200"},
		},
	},
}

// repositoryURLPattern is that of the installations, too.
const repositoryURLPattern = `^https://[A-Za-z0-9.-]+(:[0-9]+)?(/[A-Za-z0-9._~/-]*)?$`
