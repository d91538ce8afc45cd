// Package tokens resets what registers runners, resets all that lost secrets make useless,
// and hands a runner what it registers with.
package tokens

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"

	"gitlab-codedeploy/internal/omnibus"
)

// Names is the folder of the files with the names of variables that were deleted.
const Names = "/var/lib/gitlab-codedeploy/variables"

const (
	// statements may take hours on a large table of jobs, and so may the doctor, who
	// decrypts every value.
	statementsLimit = 3 * time.Hour
	doctorLimit     = 6 * time.Hour
)

// group is something that is reset, in one table.
type group struct {
	table   string
	columns []string
	meaning string
	// name is what the result calls it, if not the table.
	name string
}

// What is cleared. What a version does not have of it is said to be missing.
var registrationTokens = []group{
	{"application_settings", []string{"runners_registration_token", "runners_registration_token_encrypted"}, "the registration token of the instance", ""},
	{"namespaces", []string{"runners_token", "runners_token_encrypted"}, "registration tokens of groups", ""},
	{"projects", []string{"runners_token", "runners_token_encrypted"}, "registration tokens of projects", ""},
}

// What GitLab's page names for lost secrets. In 13.10 it is doc/raketasks/backup_restore.md, later
// https://docs.gitlab.com/administration/backup_restore/troubleshooting_backup_gitlab/#when-the-secrets-file-is-lost
var lostTokens = []group{
	{"ci_runners", []string{"token", "token_encrypted"}, "tokens of runners: each has to be registered again", ""},
	{"ci_builds", []string{"token", "token_encrypted"}, "tokens of jobs: those that run fail", ""},
	{"application_settings", []string{"encrypted_ci_jwt_signing_key", "encrypted_ci_jwt_signing_key_iv"}, "the key of CI_JOB_JWT and ID tokens, which is made anew", "application_settings.ci_jwt_signing_key"},
}

// From 15.11 on jobs are in partitions of this table, and ci_builds is the first of them.
const partitionedJobs = "p_ci_builds"

// Emptied. The page names the first two. The others are encrypted with the same key and
// break the page that shows them, or the schedule, in the same way.
var lostVariables = []string{"ci_variables", "ci_group_variables", "ci_instance_variables", "ci_pipeline_schedule_variables"}

// Truncated. Until 14.0, which has "services" instead of "integrations" and does not encrypt
// it, the page names web_hooks alone.
var (
	lostHooks        = []string{"web_hooks", "web_hook_logs"}
	lostIntegrations = []string{
		"integrations", "chat_names", "issue_tracker_data", "jira_tracker_data", "open_project_tracker_data", "slack_integrations", "zentao_tracker_data",
	}
	// Parts of these that some versions have, and the page leaves to CASCADE.
	partsOfThem = []string{"web_hook_logs_daily", "slack_integrations_scopes", "dingtalk_tracker_data"}
)

// Reset is the operation on one GitLab.
type Reset struct {
	GitLab omnibus.GitLab
	// Lost says that gitlab-secrets.json is lost: everything goes that nothing can decrypt
	// any more.
	Lost bool
	// CloseSignUp closes sign-up, too.
	CloseSignUp bool
	// Confirm asks people whether to go on; its error says that they do not want to.
	Confirm func(question string) error

	schema  omnibus.Schema
	targets []*target
	missing []string
}

// target is what is reset in one table.
type target struct {
	How     string // clear, clear-if-allowed, delete or truncate
	Table   string
	Columns []string
	Name    string
	Before  int
	// Key and IDs restrict it to ranges of rows.
	Key     string
	IDs     [][2]int64
	meaning string
	after   *int
}

// Result is what was, or would be reset.
type Result struct {
	Reset map[string]Counts `json:"reset"`
	// Missing is what this version does not have.
	Missing []string `json:"missing"`
	// Names is the file with the names of deleted variables, "" for none.
	Names string `json:"names"`
	// SigningKeys are those that were made anew.
	SigningKeys []string `json:"signingKeys"`
	// SignUp is open or closed.
	SignUp string `json:"signUp"`
}

// Counts are how many rows hold a value.
type Counts struct {
	Before int  `json:"before"`
	After  *int `json:"after,omitempty"`
}

// Check tells what would be reset, and changes nothing.
func (r *Reset) Check(ctx context.Context) (Result, error) {
	if err := r.look(ctx); err != nil {
		return Result{}, err
	}
	open, err := r.tellSignUp(ctx)
	if err != nil {
		return Result{}, err
	}
	return r.result("", nil, open), nil
}

// Do resets in one transaction, after a question. An error says that nothing was changed,
// unless it says otherwise.
func (r *Reset) Do(ctx context.Context) (Result, error) {
	if err := r.look(ctx); err != nil {
		return Result{}, err
	}
	open, err := r.tellSignUp(ctx)
	if err != nil {
		return Result{}, err
	}
	if err := r.confirm(); err != nil {
		return Result{}, err
	}
	names, err := r.keepNames(ctx)
	if err != nil {
		return Result{}, fmt.Errorf("cannot write the names of the variables: %w: nothing was changed", err)
	}
	if err := r.reset(ctx); err != nil {
		return Result{}, err
	}
	keys, err := r.makeSigningKeys(ctx)
	if err != nil {
		return Result{}, fmt.Errorf("the tokens are reset, but the keys that sign jobs' tokens are not made anew; run this again: %w", err)
	}
	if open && r.CloseSignUp {
		if err := r.GitLab.CloseSignUp(ctx); err != nil {
			return Result{}, fmt.Errorf("the tokens are reset, but sign-up is still open; run this again: %w", err)
		}
		open = false
		r.GitLab.Machine.Say("sign-up is closed")
	}
	r.sayWhatIsLeft(names, keys)
	return r.result(names, keys, open), nil
}

// look finds out what this version has of all that, and how much there is in it.
func (r *Reset) look(ctx context.Context) (err error) {
	if r.schema, err = r.GitLab.Schema(ctx); err != nil {
		return err
	}
	r.targets, r.missing = nil, nil
	r.chooseColumns(registrationTokens)
	if r.Lost {
		r.chooseColumns(lostTokens)
		r.chooseTables("delete", "CI/CD variables, with their values", lostVariables)
		hooks := lostHooks
		if r.schema.HasTable("integrations") {
			hooks = append(slices.Clone(hooks), lostIntegrations...)
		}
		for _, part := range partsOfThem {
			if r.schema.HasTable(part) {
				hooks = append(slices.Clone(hooks), part)
			}
		}
		r.chooseTables("truncate", "webhooks and integrations, with their settings", hooks)
		if err := r.checkReferences(ctx); err != nil {
			return err
		}
		if err := r.askDoctor(ctx); err != nil {
			return err
		}
	}
	counts, err := r.count(ctx)
	if err != nil {
		return fmt.Errorf("cannot count what would be reset: %w: nothing was changed", err)
	}
	m, lost := r.GitLab.Machine, ""
	if r.Lost {
		lost = ", and lost"
	}
	m.Say("what is reset%s:", lost)
	for _, t := range r.targets {
		t.Before = counts[t.Name]
		fmt.Fprintf(m.Log, "  %8d  %s (%s)\n", t.Before, t.meaning, t.Table)
	}
	return nil
}

func (r *Reset) chooseColumns(groups []group) {
	for _, g := range groups {
		if g.table == "ci_builds" && r.schema.HasTable(partitionedJobs) {
			g.table = partitionedJobs
		}
		t := &target{How: "clear", Table: g.table, Name: g.name, meaning: g.meaning}
		if t.Name == "" {
			t.Name = g.table
		}
		for _, column := range g.columns {
			if r.schema.Has(g.table, column) {
				t.Columns = append(t.Columns, column)
			} else {
				r.noteMissing(g.table + "." + column)
			}
		}
		if t.Columns != nil {
			r.targets = append(r.targets, t)
		}
	}
}

func (r *Reset) chooseTables(how, meaning string, tables []string) {
	for _, table := range tables {
		if r.schema.HasTable(table) {
			r.targets = append(r.targets, &target{How: how, Table: table, Name: table, meaning: meaning})
		} else {
			r.noteMissing(table)
		}
	}
}

func (r *Reset) noteMissing(what string) {
	r.missing = append(r.missing, what)
	r.GitLab.Machine.Say("this version has no %s: there is nothing to reset", what)
}

func (r *Reset) tables(how ...string) (tables []string) {
	for _, t := range r.targets {
		if slices.Contains(how, t.How) && !slices.Contains(tables, t.Table) {
			tables = append(tables, t.Table)
		}
	}
	return tables
}

func (r *Reset) checkReferences(ctx context.Context) error {
	truncated := r.tables("truncate")
	if truncated == nil {
		return nil
	}
	rows, err := r.query(ctx, "references.sql", map[string]any{"Truncated": truncated})
	if err != nil {
		return fmt.Errorf("cannot look at what refers to the webhooks and integrations: %w: nothing was changed", err)
	}
	var others []string
	for _, row := range rows {
		others = append(others, row[0])
	}
	if others != nil {
		return fmt.Errorf("%s refers to tables that would be emptied, and GitLab's page does not name it: nothing was changed", strings.Join(others, " "))
	}
	return nil
}

//go:embed rb/doctor.rb
var doctor string

// unreadable is what GitLab's doctor says of an attribute.
type unreadable struct {
	Table     string     `json:"table"`
	Key       string     `json:"key"`
	Attribute string     `json:"attribute"`
	Columns   []string   `json:"columns"`
	IDs       [][2]int64 `json:"ids"`
}

// identifier is a name that stands in SQL without quotes.
var identifier = regexp.MustCompile(`^[a-z_][a-z0-9_]*$`)

// askDoctor adds whatever else GitLab's own doctor cannot decrypt: customers_dot_jwt_signing_key,
// deploy tokens, the tokens of feature flags' clients, mirrors, clusters, and what later versions add.
func (r *Reset) askDoctor(ctx context.Context) error {
	known := r.tables("delete", "truncate", "clear")
	known = slices.DeleteFunc(known, func(table string) bool { return table == "application_settings" })
	d, kept, err := r.diagnose(ctx, known)
	if err != nil {
		return fmt.Errorf("%w: nothing was changed", err)
	}
	var found []unreadable
	if err := json.Unmarshal(d.Answer, &found); err != nil {
		return fmt.Errorf("GitLab's doctor says what is not understood: %w: nothing was changed", err)
	}
	for _, u := range found {
		if len(u.Columns) == 0 {
			r.GitLab.Machine.Say("note: GitLab's doctor names %s.%s, which is no column: look at it by hand", u.Table, u.Attribute)
			continue
		}
		for _, column := range append([]string{u.Key}, u.Columns...) {
			if !identifier.MatchString(u.Table) || !identifier.MatchString(column) || !r.schema.Has(u.Table, column) {
				return fmt.Errorf("GitLab's doctor names %q.%q, and the database has no such column: nothing was changed", u.Table, column)
			}
		}
		r.targets = append(r.targets, &target{
			How: "clear-if-allowed", Table: u.Table, Columns: u.Columns, Key: u.Key, IDs: u.IDs,
			Name: u.Table + "." + strings.ReplaceAll(u.Attribute, "'", ""), meaning: "what cannot be decrypted: " + u.Attribute,
		})
	}
	if kept {
		return nil
	}
	text, err := json.Marshal(d)
	if err != nil {
		return err
	}
	return r.GitLab.Machine.WriteFile(keptDiagnosis, string(text)+"\n", 0o600)
}

const (
	// keptDiagnosis is what the doctor said when somebody looked: the reset that follows, and
	// clears what was shown, need not wait for hours once more. It holds no values.
	keptDiagnosis = "/run/gitlab-codedeploy-doctor.json"
	// diagnosisLimit is how long that counts: people work, and may set a value anew.
	diagnosisLimit = time.Hour
)

// diagnosis is what GitLab's doctor finds beside the tables that are known.
type diagnosis struct {
	Asked   time.Time       `json:"asked"`
	Secrets string          `json:"secrets"` // SHA-256 of those that it could not decrypt with
	Known   []string        `json:"known"`
	Answer  json.RawMessage `json:"answer"`
}

// diagnose asks GitLab's doctor, unless it was asked the same within the hour: kept.
func (r *Reset) diagnose(ctx context.Context, known []string) (d diagnosis, kept bool, err error) {
	m := r.GitLab.Machine
	secrets, err := m.ReadFile("/etc/gitlab/gitlab-secrets.json")
	if err != nil {
		return d, false, err
	}
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(secrets)))
	text, err := m.ReadFile(keptDiagnosis)
	if err != nil {
		return d, false, err
	}
	if json.Unmarshal([]byte(text), &d) == nil && d.Secrets == sum && slices.Equal(d.Known, known) {
		if age := time.Since(d.Asked); age >= 0 && age <= diagnosisLimit {
			m.Say("GitLab's doctor was asked %d minutes ago what else cannot be decrypted, and is not asked again", int(age.Minutes()))
			return d, true, nil
		}
	}
	m.Say("asking GitLab's doctor what else cannot be decrypted: it reads every value, which may take hours")
	answer, err := r.GitLab.Rails(ctx, omnibus.Ruby{Name: "ask GitLab's doctor", Text: doctor, Input: map[string]any{"known": known}, Timeout: doctorLimit})
	return diagnosis{time.Now().UTC(), sum, known, json.RawMessage(answer)}, false, err
}

func (r *Reset) count(ctx context.Context) (map[string]int, error) {
	rows, err := r.query(ctx, "count.sql", map[string]any{"Targets": r.targets})
	if err != nil {
		return nil, err
	}
	return countsOf(rows)
}

func countsOf(rows omnibus.Rows) (map[string]int, error) {
	counts := map[string]int{}
	for _, row := range rows {
		if len(row) != 2 {
			return nil, fmt.Errorf("got %q, want a name and a number", row)
		}
		number, err := strconv.Atoi(row[1])
		if err != nil {
			return nil, err
		}
		counts[row[0]] = number
	}
	return counts, nil
}

// tellSignUp says whether sign-up is open, of which a restored database has its own idea.
func (r *Reset) tellSignUp(ctx context.Context) (open bool, err error) {
	if open, err = r.GitLab.SignUpIsOpen(ctx); err != nil {
		return false, fmt.Errorf("%w: nothing was changed", err)
	}
	switch {
	case open && r.CloseSignUp:
		r.GitLab.Machine.Say("sign-up is open, and will be closed")
	case open:
		r.GitLab.Machine.Say("sign-up is open: whoever reaches GitLab's page can make an account. --sign-up close closes it")
	}
	return open, nil
}

func (r *Reset) confirm() error {
	if err := r.Confirm("Reset them? Whoever registers runners needs the new tokens."); err != nil || !r.Lost {
		return err
	}
	return r.Confirm("This cannot be undone, and is wrong as long as the right gitlab-secrets.json can be found. Is there a backup, and is the file lost for good?")
}

// variables are those of one table, for the SQL of their names.
type variables struct {
	Table, Owner, Routes string
	Scoped               bool
}

// keepNames writes which variables there were, for whoever sets them anew.
func (r *Reset) keepNames(ctx context.Context) (file string, err error) {
	if !r.Lost {
		return "", nil
	}
	var tables []variables
	for _, table := range r.tables("delete") {
		v := variables{Table: table, Scoped: r.schema.Has(table, "environment_scope")}
		for _, owner := range []struct{ column, routes string }{{"project_id", "Project"}, {"group_id", "Namespace"}, {"pipeline_schedule_id", ""}} {
			// Later versions have the project beside the schedule.
			if r.schema.Has(table, owner.column) && (owner.column != "project_id" || !r.schema.Has(table, "pipeline_schedule_id")) {
				v.Owner = owner.column
				if r.schema.Has("routes", "source_type") {
					v.Routes = owner.routes
				}
				break
			}
		}
		tables = append(tables, v)
	}
	statements, err := render("names.sql", tables)
	if err != nil {
		return "", err
	}
	text, err := r.GitLab.Print(ctx, omnibus.Statements{Text: statements, Timeout: statementsLimit})
	if err != nil {
		return "", err
	}
	m := r.GitLab.Machine
	file = fmt.Sprintf("%s/%s-%d.tsv", Names, time.Now().UTC().Format("20060102T150405"), os.Getpid())
	if err := errors.Join(m.MakeFolder(Names, 0o700), m.WriteFile(file, text, 0o600)); err != nil {
		return "", err
	}
	m.Say("the names of the variables, without values, are in %s", file)
	return file, nil
}

// reset is the one transaction.
func (r *Reset) reset(ctx context.Context) error {
	data := map[string]any{"Targets": r.targets, "Truncated": r.tables("truncate")}
	changes, err := render("reset.sql", data)
	if err != nil {
		return err
	}
	count, err := render("count.sql", data)
	if err != nil {
		return err
	}
	rows, err := r.GitLab.Query(ctx, omnibus.Statements{Text: changes + count, Changes: true, Timeout: statementsLimit})
	if err != nil {
		return fmt.Errorf("the database refused, and undid all of it: nothing was changed: %w", err)
	}
	if err := r.GitLab.Machine.Remove(keptDiagnosis); err != nil {
		return fmt.Errorf("the tokens are reset, but what GitLab's doctor said of before stays: %w", err)
	}
	counts, err := countsOf(rows)
	if err != nil {
		return fmt.Errorf("the tokens are reset, but the database says of it: %w", err)
	}
	for _, t := range r.targets {
		after := counts[t.Name]
		t.after = &after
		if after > 0 && t.How == "clear-if-allowed" {
			r.GitLab.Machine.Say("note: %d rows of %s cannot be emptied, for the table wants a value: what they are for has to be deleted and made anew in GitLab", after, t.Name)
		}
	}
	return nil
}

//go:embed rb/signing-keys.rb
var signingKeys string

// makeSigningKeys makes those that are gone. GitLab does so only when it is installed, or
// upgraded to the version that brought them.
func (r *Reset) makeSigningKeys(ctx context.Context) (made []string, err error) {
	var columns []string
	for _, column := range []string{"encrypted_ci_jwt_signing_key", "encrypted_ci_job_token_signing_key", "ci_job_token_signing_key"} {
		if r.schema.Has("application_settings", column) {
			columns = append(columns, column)
		}
	}
	if columns == nil {
		return nil, nil
	}
	rows, err := r.query(ctx, "signing-keys.sql", columns)
	if err != nil {
		return nil, err
	}
	if len(rows) == 1 && rows[0][0] == "0" {
		return nil, nil
	}
	r.GitLab.Machine.Say("making the keys anew that GitLab signs jobs' tokens with")
	answer, err := r.GitLab.Rails(ctx, omnibus.Ruby{Name: "make the signing keys anew", Text: signingKeys, Changes: true})
	if err != nil {
		return nil, err
	}
	return made, json.Unmarshal([]byte(answer), &made)
}

func (r *Reset) sayWhatIsLeft(names string, keys []string) {
	say := r.GitLab.Machine.Say
	// GitLab keeps its settings in each process's memory, for a minute.
	// https://gitlab.com/gitlab-org/gitlab/-/blob/master/app/models/application_setting.rb (cache_backend)
	say("done. GitLab's processes may take the old registration token for another minute; nothing has to be restarted for it")
	if len(keys) > 0 {
		say("left to do: scripts/ops trust, and deploy account B: jobs' tokens are signed with another key from now on")
	}
	if r.Lost {
		say("left to do: gitlab-ctl restart; gitlab-rake gitlab:doctor:secrets must find nothing; "+
			"gitlab-rake gitlab:two_factor:disable_for_all_users if nobody gets past the second factor; register the runners again; "+
			"set the variables in %s, the webhooks and the integrations anew, and deploy tokens", names)
	}
}

func (r *Reset) result(names string, keys []string, open bool) Result {
	result := Result{Reset: map[string]Counts{}, Missing: append([]string{}, r.missing...), Names: names, SigningKeys: append([]string{}, keys...), SignUp: "closed"}
	if open {
		result.SignUp = "open"
	}
	for _, t := range r.targets {
		result.Reset[t.Name] = Counts{t.Before, t.after}
	}
	return result
}

//go:embed sql/*.sql
var files embed.FS

var statements = template.Must(template.New("").ParseFS(files, "sql/*.sql"))

// render fills a file of SQL in. What stands in it are names and numbers only, each of which
// was found in the schema.
func render(file string, data any) (string, error) {
	var text bytes.Buffer
	err := statements.ExecuteTemplate(&text, file, data)
	return text.String(), err
}

func (r *Reset) query(ctx context.Context, file string, data any) (omnibus.Rows, error) {
	text, err := render(file, data)
	if err != nil {
		return nil, err
	}
	return r.GitLab.Query(ctx, omnibus.Statements{Text: text, Timeout: statementsLimit})
}
