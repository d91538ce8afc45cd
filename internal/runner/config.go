package runner

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/creachadair/tomledit"
	"github.com/creachadair/tomledit/parser"
	"github.com/creachadair/tomledit/scanner"

	"gitlab-codedeploy/internal/jobrole"
	"gitlab-codedeploy/internal/machine"
)

// Config is where gitlab-runner of a package has its configuration.
const Config = "/etc/gitlab-runner/config.toml"

// JobPrograms is the folder of this project's programs, on the host and, read-only, in
// the container of each job.
const JobPrograms = "/opt/gitlab-codedeploy/bin"

const jobProgramsVolume = JobPrograms + ":" + JobPrograms + ":ro"

// What keeps jobs apart. Each has a network of its own instead of Docker's common one,
// where jobs could reach each other's services, and none can forge packets there.
// https://docs.gitlab.com/runner/executors/docker/#create-a-network-for-each-job
const (
	networkPerJob = "FF_NETWORK_PER_BUILD"
	noRawSockets  = "NET_RAW"
)

// configuration is config.toml.
type configuration struct {
	machine *machine.Machine
	before  string
	file    *tomledit.Document
}

// runnerOf is one [[runners]] of it.
type runnerOf struct {
	head   *tomledit.Section
	docker *tomledit.Section // nil for another executor
}

// read reads the configuration; there may be none yet.
func read(m *machine.Machine) (*configuration, error) {
	text, err := m.ReadFile(Config)
	if err != nil {
		return nil, err
	}
	file, err := tomledit.Parse(strings.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("%s is not TOML: %w", Config, err)
	}
	if file.Global == nil {
		file.Global = &tomledit.Section{}
	}
	return &configuration{m, text, file}, nil
}

// save writes it. The service reads it by itself.
func (c *configuration) save() error {
	var after bytes.Buffer
	if err := tomledit.Format(&after, c.file); err != nil {
		return err
	}
	return c.machine.WriteFile(Config, after.String(), 0o600)
}

// runners are all of them, in their order.
func (c *configuration) runners() (found []runnerOf) {
	for _, section := range c.file.Sections {
		switch name := section.TableName(); {
		case section.Heading.IsArray && name.Equals(parser.Key{"runners"}):
			found = append(found, runnerOf{head: section})
		case name.Equals(parser.Key{"runners", "docker"}) && len(found) > 0:
			found[len(found)-1].docker = section
		}
	}
	return found
}

// has says whether there is a runner of that name.
func (c *configuration) has(name string) bool {
	return slices.ContainsFunc(c.runners(), func(r runnerOf) bool { return textOf(r.head, "name") == name })
}

// secrets are the tokens in it.
func (c *configuration) secrets() (tokens []string) {
	for _, r := range c.runners() {
		tokens = append(tokens, textOf(r.head, "token"))
	}
	return tokens
}

// setConcurrent sets how many jobs run at a time, and says whether that is a change.
func (c *configuration) setConcurrent(jobs int) bool {
	value := strconv.Itoa(jobs)
	if found := find(c.file.Global, "concurrent"); found != nil {
		if found.Value.String() == value {
			return false
		}
		found.Value = parser.MustValue(value)
		return true
	}
	c.file.Global.Items = slices.Insert(c.file.Global.Items, 0, parser.Item(keyValue("concurrent", value)))
	if c.before == "" {
		c.file.Global.Items = append(c.file.Global.Items, keyValue("check_interval", "0"))
	}
	return true
}

// concurrent is how many jobs run at a time: 1 if nothing says.
func (c *configuration) concurrent() int {
	if found := find(c.file.Global, "concurrent"); found != nil {
		if jobs, err := strconv.Atoi(found.Value.String()); err == nil && jobs > 0 {
			return jobs
		}
	}
	return 1
}

// settle gives the jobs of every Docker runner what they need, a role among it, and what
// keeps them apart, and says whether that changed anything. What somebody has set stays.
func (c *configuration) settle(role jobrole.Role) (changed bool, err error) {
	memory, err := memoryOfJob(c.machine, c.concurrent())
	if err != nil {
		return false, err
	}
	for _, r := range c.runners() {
		if !strings.HasPrefix(textOf(r.head, "executor"), "docker") {
			continue
		}
		name := textOf(r.head, "name")
		if r.docker == nil {
			return false, fmt.Errorf("%s: the runner %q has no table [runners.docker]", Config, name)
		}
		volumes, err := textsOf(r.docker, "volumes")
		if err != nil {
			return false, err
		}
		for _, volume := range volumes {
			if parts := strings.Split(volume, ":"); volume != jobProgramsVolume && slices.Contains(parts[min(1, len(parts)-1):], JobPrograms) {
				return false, fmt.Errorf("%s: the runner %q mounts something else at %s: write %q into its volumes by hand", Config, name, JobPrograms, jobProgramsVolume)
			}
		}
		type entry struct {
			table *tomledit.Section
			key   string
			text  string
			begin string // what says that somebody has decided otherwise
		}
		wanted := []entry{
			{r.docker, "volumes", jobProgramsVolume, jobProgramsVolume},
			{r.docker, "cap_drop", noRawSockets, noRawSockets},
		}
		for _, variable := range environment(role) {
			begin := variable[:strings.Index(variable, "=")+1]
			if strings.HasPrefix(variable, jobrole.CredentialsVariables) {
				begin = jobrole.CredentialsVariables
			}
			wanted = append(wanted, entry{r.head, "environment", variable, begin})
		}
		for _, want := range wanted {
			added, err := add(want.table, want.key, want.text, want.begin)
			if err != nil {
				return false, fmt.Errorf("%s: the runner %q: %w", Config, name, err)
			}
			changed = changed || added
		}
		if find(r.docker, "memory") == nil {
			r.docker.Items = append(r.docker.Items, keyValue("memory", strconv.Quote(memory)))
			changed = true
		}
	}
	return changed, nil
}

// environment are the variables that every job has. Those of a project go before them.
func environment(role jobrole.Role) []string {
	return append([]string{networkPerJob + "=1"}, role.Variables()...)
}

// warn tells of jobs that are in the host's own network: they reach whatever the host
// reaches, and its role with it.
func (c *configuration) warn() {
	for _, r := range c.runners() {
		if r.docker != nil && textOf(r.docker, "network_mode") == "host" {
			c.machine.Say("warning: %s: the runner %q has network_mode \"host\": its jobs can take the role of the host, too", Config, textOf(r.head, "name"))
		}
	}
}

var memTotal = regexp.MustCompile(`(?m)^MemTotal: +([0-9]+) kB$`)

// What the host itself keeps, and what a job gets at least, in MiB.
const (
	hostMemory = 1024
	leastOfJob = 512
)

// memoryOfJob is the part of the host's memory that each of the jobs at a time may have,
// as Docker says it. One that takes more is ended, and not the host.
func memoryOfJob(m *machine.Machine, jobs int) (string, error) {
	text, err := m.ReadFile("/proc/meminfo")
	if err != nil {
		return "", err
	}
	found := memTotal.FindStringSubmatch(text)
	if found == nil {
		return "", errors.New("/proc/meminfo says nothing of MemTotal")
	}
	total, err := strconv.Atoi(found[1])
	return fmt.Sprintf("%dm", max((total/1024-hostMemory)/jobs, leastOfJob)), err
}

func keyValue(key, value string) *parser.KeyValue {
	return &parser.KeyValue{Name: parser.Key{key}, Value: parser.MustValue(value)}
}

// find returns a table's own key, or nil.
func find(table *tomledit.Section, key string) *parser.KeyValue {
	for _, item := range table.Items {
		if found, is := item.(*parser.KeyValue); is && found.Name.Equals(parser.Key{key}) {
			return found
		}
	}
	return nil
}

// textOf is a table's text, "" if there is none.
func textOf(table *tomledit.Section, key string) string {
	found := find(table, key)
	if found == nil {
		return ""
	}
	text, _ := unquoted(found.Value)
	return text
}

// textsOf is a table's list of texts.
func textsOf(table *tomledit.Section, key string) (texts []string, err error) {
	found := find(table, key)
	if found == nil {
		return nil, nil
	}
	list, is := found.Value.X.(parser.Array)
	if !is {
		return nil, fmt.Errorf("%s is not a list", key)
	}
	for _, item := range list {
		if value, is := item.(parser.Value); is {
			text, err := unquoted(value)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", key, err)
			}
			texts = append(texts, text)
		}
	}
	return texts, nil
}

// add adds a text to a table's list, unless one of them begins like that.
func add(table *tomledit.Section, key, text, begin string) (changed bool, err error) {
	texts, err := textsOf(table, key)
	if err != nil || slices.ContainsFunc(texts, func(t string) bool { return strings.HasPrefix(t, begin) }) {
		return false, err
	}
	value := parser.MustValue(strconv.Quote(text))
	found := find(table, key)
	if found == nil {
		table.Items = append(table.Items, &parser.KeyValue{Name: parser.Key{key}, Value: parser.Value{X: parser.Array{value}}})
		return true, nil
	}
	list, _ := found.Value.X.(parser.Array)
	found.Value.X = append(list, value)
	return true, nil
}

// unquoted is the text that a TOML string stands for.
func unquoted(value parser.Value) (string, error) {
	token, is := value.X.(parser.Token)
	if !is {
		return "", fmt.Errorf("got %s, want a text", value)
	}
	raw := token.String()
	switch {
	case len(raw) >= 2 && raw[0] == '\'' && raw[len(raw)-1] == '\'':
		return strings.Trim(raw, "'"), nil
	case len(raw) >= 2 && raw[0] == '"' && raw[len(raw)-1] == '"':
		text, err := scanner.Unescape([]byte(raw[1 : len(raw)-1]))
		return string(text), err
	}
	return "", fmt.Errorf("got %s, want a text", cmp.Or(raw, "nothing"))
}
