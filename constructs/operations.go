package constructs

import (
	"fmt"

	"github.com/aws/constructs-go/constructs/v10"
)

// OperationsProps configures [NewOperations].
type OperationsProps struct {
	// Root is the folder of the project, where the scripts are. Required.
	Root string

	// Environment is part of the documents' names. Required.
	Environment string
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
	// script is its path from the project's root.
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
		name: "follow", id: "Follow", script: "scripts/server/follow-operation.sh", host: onEither, attached: true,
		does: "show how an operation is getting on",
		parameters: []ScriptParameter{
			{Name: "Run", Flag: "--run", Description: "A run's id, or an operation for its newest run", Pattern: `^(` + runIDPattern + `|[a-z][a-z-]{0,40})$`},
			{Name: "LogFrom", Flag: "--log-from", Description: "Where to go on in the log, in bytes", Pattern: `^[0-9]{1,12}$`, Optional: true, Default: "0"},
			{Name: "ResultFrom", Flag: "--result-from", Description: "Where to go on in the result, in bytes", Pattern: `^[0-9]{1,12}$`, Optional: true, Default: "0"},
			{Name: "Wait", Flag: "--wait", Description: "Longest time to wait for something new, in seconds", Pattern: `^[0-9]{1,2}$`, Optional: true, Default: "0"},
		},
	},
	{
		name: "status", id: "Status", script: "scripts/server/server-status.sh", host: onServer,
		does: "show versions, services, disk, migrations, runners and operations",
	},
	{
		name: "backup", id: "Backup", script: "scripts/server/backup-gitlab.sh", host: onServer,
		does: "make a complete backup of GitLab and store it in the bucket",
		parameters: []ScriptParameter{
			bucketParameter, regionParameter,
			{Name: "KeepDays", Flag: "--keep-days", Description: "Remove backups that are older, in days; 0 keeps all", Pattern: `^[0-9]{1,4}$`, Optional: true, Default: "0"},
			{Name: "Environment", Flag: "--environment", Description: "Environment that the backup is counted for", Pattern: `^[a-z][a-z0-9-]{0,19}$`},
		},
	},
	{
		name: "restore", id: "Restore", script: "scripts/server/restore-gitlab.sh", host: onServer,
		does: "put a backup in the place of what GitLab holds; the sender has to ask before",
		parameters: []ScriptParameter{
			{Name: "Backup", Flag: "--backup", Description: "Id of the backup", Pattern: `^[0-9]{10}_[0-9]{4}_[0-9]{2}_[0-9]{2}_[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{1,2}(-ee)?$`},
			bucketParameter, regionParameter,
		},
	},
}

// Parameters of several operations.
var (
	bucketParameter = ScriptParameter{Name: "Bucket", Flag: "--bucket", Description: "Bucket of the backups", Pattern: `^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`}
	regionParameter = ScriptParameter{Name: "Region", Flag: "--region", Description: "AWS region of the bucket", Pattern: `^[a-z]{2}(-[a-z]+)+-[0-9]$`}
)
