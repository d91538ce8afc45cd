// Package remotetest plays Systems Manager with hosts behind it, on which operations run: for tests of what starts and
// follows them. It takes and refuses what the project's real documents would. Its time is that of the test, so that a day
// passes at once in a bubble of testing/synctest.
package remotetest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/awstest"
)

// The hosts of config/staging.yaml's account.
const Server, Runner = "i-0123456789abcdef0", "i-0fedcba9876543210"

// Operation is what an operation does on its host, as a plan that begins with its start.
type Operation struct {
	Log     []Line
	Takes   time.Duration // from its start to its end
	Result  string
	Status  int    // of its script
	Killed  bool   // it ends without a status
	Refuses string // its document ends with 1 and says this: nothing is started
}

// Line is something that an operation says.
type Line struct {
	After time.Duration
	Text  string // with its line end
}

// Says are lines that an operation says at once.
func Says(lines ...string) []Line {
	var said []Line
	for _, line := range lines {
		said = append(said, Line{Text: line + "\n"})
	}
	return said
}

// Fault is what goes wrong with one call.
type Fault struct {
	LostRequest bool   // the connection breaks, and nothing is done
	LostAnswer  bool   // it breaks after that was done
	Refused     string // an error of that code
	Replace     func(*ssm.GetCommandInvocationOutput)
}

// Pass is a call that goes well among those that do not.
var Pass = Fault{}

// Systems is a played Systems Manager.
type Systems struct {
	// Hosts are the instances that it knows; Offline those whose agents take no command.
	Hosts, Offline map[string]bool
	// Script runs the text of a document that nobody plays, on a host. Optional.
	Script func(instance, text string) (status int, stdout, stderr string)
	// Documents are those of the project, and what a test adds.
	Documents map[string]Document

	t        testing.TB
	root     string
	mu       sync.Mutex
	plays    map[string]func(map[string]string) Operation
	looks    map[string]func(map[string]string) (int, string, string)
	commands map[string]*command
	runs     []*run
	faults   map[string][]Fault
	down     bool
}

type command struct {
	asked  int
	since  time.Time // when it has ended
	answer func() ssm.GetCommandInvocationOutput
}

type run struct {
	Operation
	id, name, host string
	started        time.Time
}

// Play plays Systems Manager in a cloud, with the server and the runner.
func Play(t testing.TB, cloud *awstest.Cloud) *Systems {
	t.Helper()
	root := projectRoot(t)
	s := &Systems{
		t: t, root: root, Documents: documents(t, root),
		Hosts: map[string]bool{Server: true, Runner: true}, Offline: map[string]bool{},
		plays: map[string]func(map[string]string) Operation{}, looks: map[string]func(map[string]string) (int, string, string){},
		commands: map[string]*command{}, faults: map[string][]Fault{},
	}
	awstest.On(cloud, s.sendCommand)
	awstest.On(cloud, s.getCommandInvocation)
	return s
}

// On plays an operation by its name, such as "backup". does gets the parameters of its document.
func (s *Systems) On(name string, does func(parameters map[string]string) Operation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plays[name] = does
}

// OnLook plays a document that only looks: its script's status and what it prints.
func (s *Systems) OnLook(name string, does func(parameters map[string]string) (status int, stdout, stderr string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looks[name] = does
}

// Fail lets the next calls of an action, such as "SendCommand", go wrong, one fault each.
func (s *Systems) Fail(action string, faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[action] = append(s.faults[action], faults...)
}

// Down breaks every connection while it is true.
func (s *Systems) Down(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

// Runs are the ids of the runs that there are, the oldest first.
func (s *Systems) Runs() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for _, r := range s.runs {
		ids = append(ids, r.id)
	}
	return ids
}

// Sent are the names of the documents that were sent, those of follow aside.
func Sent(cloud *awstest.Cloud) []string {
	var names []string
	for _, in := range awstest.Inputs[ssm.SendCommandInput](cloud) {
		if name := operationOf(aws.ToString(in.DocumentName)); name != "follow" {
			names = append(names, name)
		}
	}
	return names
}

// Parameters are those of the last sending of an operation.
func Parameters(cloud *awstest.Cloud, operation string) map[string]string {
	values := map[string]string{}
	for _, in := range awstest.Inputs[ssm.SendCommandInput](cloud) {
		if operationOf(aws.ToString(in.DocumentName)) == operation {
			clear(values)
			for name, value := range in.Parameters {
				values[name] = strings.Join(value, "\n")
			}
		}
	}
	return values
}

var documentName = regexp.MustCompile(`^gitlab-codedeploy-staging-([a-z-]+)$`)

func operationOf(document string) string {
	if match := documentName.FindStringSubmatch(document); match != nil {
		return match[1]
	}
	return document
}

// broken is what the SDK says of a connection that breaks.
func broken() error {
	return &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
}

func (s *Systems) fault(action string) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return Fault{LostRequest: true}
	}
	waiting := s.faults[action]
	if len(waiting) == 0 {
		return Pass
	}
	s.faults[action] = waiting[1:]
	return waiting[0]
}

func (s *Systems) sendCommand(_ context.Context, in *ssm.SendCommandInput) (*ssm.SendCommandOutput, error) {
	fault := s.fault("SendCommand")
	switch {
	case fault.LostRequest:
		return nil, broken()
	case fault.Refused != "":
		return nil, awstest.Refusal(fault.Refused, "played")
	}
	out, err := s.send(in)
	if err == nil && fault.LostAnswer {
		return nil, broken()
	}
	return out, err
}

func (s *Systems) send(in *ssm.SendCommandInput) (*ssm.SendCommandOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := aws.ToString(in.DocumentName)
	document, exists := s.Documents[name]
	if !exists {
		return nil, awstest.Refusal("InvalidDocument", "document "+name+" does not exist")
	}
	require.Len(s.t, in.InstanceIds, 1)
	host := in.InstanceIds[0]
	if !s.Hosts[host] {
		return nil, awstest.Refusal("InvalidInstanceId", "Instances not in a valid state for account")
	}
	values, err := document.values(in.Parameters)
	if err != nil {
		return nil, awstest.Refusal("InvalidParameters", err.Error())
	}
	if seconds := aws.ToInt32(in.TimeoutSeconds); seconds < 30 {
		return nil, awstest.Refusal("ValidationException", fmt.Sprintf("timeoutSeconds: got %d, want 30 or more", seconds))
	}
	id := fmt.Sprintf("00000000-0000-4000-8000-%012x", len(s.commands)+1)
	if s.Offline[host] {
		s.commands[id] = &command{since: time.Now(), answer: func() ssm.GetCommandInvocationOutput {
			return ssm.GetCommandInvocationOutput{Status: types.CommandInvocationStatusTimedOut, StatusDetails: aws.String("Undeliverable"), ResponseCode: -1}
		}}
	} else {
		s.commands[id] = s.begin(operationOf(name), host, document, values)
	}
	return &ssm.SendCommandOutput{Command: &types.Command{CommandId: &id, DocumentName: &name, Status: types.CommandStatusPending}}, nil
}

// begin runs a document on a host.
func (s *Systems) begin(operation, host string, document Document, values map[string]string) *command {
	if does, plays := s.plays[operation]; plays {
		return ended(s.start(operation, host, values, does))
	}
	if does, plays := s.looks[operation]; plays {
		return ended(does(values))
	}
	if s.Script != nil {
		made := &command{}
		text := document.text(s.t, s.root, values)
		go func() {
			status, stdout, stderr := s.Script(host, text)
			done := ended(status, stdout, stderr)
			s.mu.Lock()
			defer s.mu.Unlock()
			made.since, made.answer = done.since, done.answer
		}()
		return made
	}
	if operation == "follow" {
		return s.follow(host, values)
	}
	s.t.Errorf("%s is started on %s, and nobody plays it", operation, host)
	return ended(1, "", "nobody plays it")
}

// ended is a command that has ended with a status.
func ended(status int, stdout, stderr string) *command {
	state := types.CommandInvocationStatusSuccess
	if status != 0 {
		state = types.CommandInvocationStatusFailed
	}
	// https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetCommandInvocation.html
	stdout, stderr = cut(stdout, 24000), cut(stderr, 8000)
	return &command{since: time.Now(), answer: func() ssm.GetCommandInvocationOutput {
		return ssm.GetCommandInvocationOutput{
			Status: state, StatusDetails: aws.String(string(state)), ResponseCode: int32(status),
			StandardOutputContent: &stdout, StandardErrorContent: &stderr,
		}
	}}
}

func cut(text string, limit int) string {
	if runes := []rune(text); len(runes) > limit {
		return string(runes[:limit])
	}
	return text
}

// start is what operation.sh does: it begins each run once.
func (s *Systems) start(name, host string, values map[string]string, does func(map[string]string) Operation) (int, string, string) {
	id := values["RunId"]
	for _, r := range s.runs {
		if r.id == id {
			return 0, "run " + id + " was started already\n", ""
		}
	}
	o := does(values)
	if o.Refuses != "" {
		return 1, "", o.Refuses + "\n"
	}
	s.runs = append(s.runs, &run{o, id, name, host, time.Now()})
	return 0, "run " + id + " of " + name + " is started\n", ""
}

func (s *Systems) getCommandInvocation(_ context.Context, in *ssm.GetCommandInvocationInput) (*ssm.GetCommandInvocationOutput, error) {
	fault := s.fault("GetCommandInvocation")
	switch {
	case fault.LostRequest, fault.LostAnswer:
		return nil, broken()
	case fault.Refused != "":
		return nil, awstest.Refusal(fault.Refused, "played")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	made := s.commands[aws.ToString(in.CommandId)]
	if made == nil {
		return nil, awstest.Refusal("InvalidCommandId", "played")
	}
	out := ssm.GetCommandInvocationOutput{Status: types.CommandInvocationStatusInProgress, StatusDetails: aws.String("InProgress"), ResponseCode: -1}
	switch made.asked++; {
	case made.asked == 1: // so it is for a moment after each command
		return nil, &types.InvocationDoesNotExist{Message: aws.String("played")}
	case made.answer != nil && !time.Now().Before(made.since):
		out = made.answer()
	}
	if fault.Replace != nil {
		fault.Replace(&out)
	}
	out.CommandId, out.InstanceId = in.CommandId, in.InstanceId
	return &out, nil
}

// follow is what the hosts' program does. It answers when there is something new.
func (s *Systems) follow(host string, values map[string]string) *command {
	from, err := strconv.Atoi(values["LogFrom"])
	resultFrom, err2 := strconv.Atoi(values["ResultFrom"])
	wait, err3 := strconv.Atoi(values["Wait"])
	require.NoError(s.t, errors.Join(err, err2, err3))
	var found *run
	for _, r := range s.runs {
		if r.host == host && (r.id == values["Run"] || r.name == values["Run"]) {
			found = r
		}
	}
	if found == nil {
		return ended(0, `{"run":"","operation":"","started":"","state":"none","exit":null,"log":0,"result":0,"more":false}`+"\n", "")
	}
	// When there is more than that of the log, or the end, or when nobody waits any longer.
	at := time.Now().Add(time.Duration(wait) * time.Second)
	for _, moment := range found.moments() {
		if moment.Before(at) && (len(found.log(moment)) > from || found.state(moment) != "running") {
			at = moment
			break
		}
	}
	if at.Before(time.Now()) {
		at = time.Now()
	}
	made := ended(0, found.news(at, from, resultFrom), "")
	made.since = at
	return made
}

// moments are when something changes.
func (r *run) moments() []time.Time {
	var moments []time.Time
	for _, line := range r.Log {
		moments = append(moments, r.started.Add(line.After))
	}
	return append(moments, r.started.Add(r.Takes))
}

func (r *run) log(at time.Time) string {
	var text strings.Builder
	for _, line := range r.Log {
		if !r.started.Add(line.After).After(at) {
			text.WriteString(line.Text)
		}
	}
	return text.String()
}

func (r *run) state(at time.Time) string {
	switch {
	case r.started.Add(r.Takes).After(at):
		return "running"
	case r.Killed:
		return "lost"
	}
	return "ended"
}

func (r *run) news(at time.Time, from, resultFrom int) string {
	const room = 19700
	state, exit := r.state(at), "null"
	if state == "ended" {
		exit = strconv.Itoa(r.Status)
	}
	log := r.log(at)
	body, read := pieces(log[min(from, len(log)):], "|", room, state != "running")
	from += read
	more := state != "running" && from < len(log)
	if state == "ended" && !more {
		result, read := pieces(r.Result[min(resultFrom, len(r.Result)):], ">", room-len(body), true)
		body += result
		resultFrom += read
		more = resultFrom < len(r.Result)
	}
	return fmt.Sprintf(`{"run":%q,"operation":%q,"started":%q,"state":%q,"exit":%s,"log":%d,"result":%d,"more":%t}`+"\n%s",
		r.id, r.name, r.started.UTC().Format(time.RFC3339), state, exit, from, resultFrom, more, body)
}

// pieces marks the lines of a text, as many as there is room for, and says how many bytes of it they are.
func pieces(text, mark string, room int, final bool) (string, int) {
	var out strings.Builder
	read := 0
	for line := range strings.Lines(text) {
		if whole := strings.HasSuffix(line, "\n"); whole && len(line)+2 <= room {
			out.WriteString(mark + " " + line)
			room -= len(line) + 2
			read += len(line)
			continue
		} else if whole && read > 0 || !whole && !final && len(line) < 2000 {
			break
		}
		end := max(0, min(len(line), room-3))
		for end > 0 && end < len(line) && line[end]&0xC0 == 0x80 {
			end-- // not within a letter
		}
		out.WriteString(mark + "+" + strings.TrimSuffix(line[:end], "\n") + "\n")
		read += end
		break
	}
	return out.String(), read
}
