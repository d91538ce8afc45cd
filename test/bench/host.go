package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"
)

// host is the server of account A on which one backup is made, behind a played
// Systems Manager, and what a command asks before.
type host struct {
	lasts  time.Duration
	server *httptest.Server

	mu       sync.Mutex
	run      string // its id; "" until it has begun
	began    time.Time
	commands map[string]printed
	asked    int      // about commands
	bad      []string // calls that nobody expects
}

// printed is what a document prints, and when it has ended.
type printed struct {
	at   time.Time
	text string
}

// followedResult is what the backup leaves.
const followedResult = `{"backup":"1762000000_2026_11_01_18.11.13"}`

// logEvery is how often the backup says something.
const logEvery = 5 * time.Second

func newHost(lasts time.Duration) *host {
	h := &host{lasts: lasts, commands: map[string]printed{}}
	h.server = httptest.NewTLSServer(h)
	return h
}

func (h *host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if target := r.Header.Get("X-Amz-Target"); target != "" {
		var input struct {
			DocumentName, CommandId, InstanceId string
			Parameters                          map[string][]string
		}
		if err := json.NewDecoder(r.Body).Decode(&input); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		switch target {
		case "AmazonSSM.SendCommand":
			writeJSON(w, map[string]any{"Command": map[string]any{"CommandId": h.send(input.DocumentName, input.Parameters), "Status": "Pending"}})
			return
		case "AmazonSSM.GetCommandInvocation":
			writeJSON(w, h.invocation(input.CommandId, input.InstanceId))
			return
		}
		h.refuse(w, target)
		return
	}
	w.Header().Set("Content-Type", "text/xml")
	switch action := r.PostFormValue("Action"); action {
	case "GetCallerIdentity":
		fmt.Fprint(w, `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>`+
			`<Arn>arn:aws:sts::111111111111:assumed-role/operator/alice</Arn><UserId>AROAEXAMPLE:alice</UserId><Account>111111111111</Account></GetCallerIdentityResult></GetCallerIdentityResponse>`)
	case "DescribeStacks":
		var outputs strings.Builder
		for name, value := range map[string]string{"ServerInstanceId": "i-0123456789abcdef0", "BackupBucketName": "gitlab-local-backups"} {
			fmt.Fprintf(&outputs, "<member><OutputKey>%s</OutputKey><OutputValue>%s</OutputValue></member>", name, value)
		}
		fmt.Fprintf(w, `<DescribeStacksResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/"><DescribeStacksResult><Stacks><member><StackName>GitLab-local</StackName>`+
			`<CreationTime>2026-11-01T00:00:00Z</CreationTime><StackStatus>CREATE_COMPLETE</StackStatus><Outputs>%s</Outputs></member></Stacks></DescribeStacksResult></DescribeStacksResponse>`, &outputs)
	default:
		h.refuse(w, action)
	}
}

func writeJSON(w http.ResponseWriter, value any) { _ = json.NewEncoder(w).Encode(value) }

func (h *host) refuse(w http.ResponseWriter, call string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bad = append(h.bad, call)
	http.Error(w, "nobody plays "+call, http.StatusNotImplemented)
}

// send runs a document: the backup begins at once, and follow ends when there is
// something to tell, or when it has waited.
func (h *host) send(document string, parameters map[string][]string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	id := fmt.Sprintf("00000000-0000-4000-8000-%012d", len(h.commands)+1)
	now := time.Now()
	if !strings.HasSuffix(document, "-follow") {
		if h.run == "" {
			h.run, h.began = strings.Join(parameters["RunId"], ""), now
		}
		h.commands[id] = printed{at: now}
		return id
	}
	var told, wait int
	_, _ = fmt.Sscan(strings.Join(parameters["LogFrom"], ""), &told)
	_, _ = fmt.Sscan(strings.Join(parameters["Wait"], ""), &wait)
	log := strings.Repeat("packing repositories\n", int(h.lasts/logEvery))
	line := len("packing repositories\n")
	end := h.began.Add(h.lasts)
	at := h.began.Add(time.Duration(told/line+1) * logEvery) // when the next line comes
	if at.After(end) {
		at = end
	}
	if latest := now.Add(time.Duration(wait) * time.Second); at.After(latest) {
		at = latest
	}
	if at.Before(now) {
		at = now
	}
	until := min(len(log), line*int(at.Sub(h.began)/logEvery))
	state, exit, result, text := "running", "null", 0, ""
	for row := range strings.Lines(log[min(told, until):until]) {
		text += "| " + row
	}
	if !at.Before(end) {
		state, exit, result = "ended", "0", len(followedResult)+1
		text += "> " + followedResult + "\n"
	}
	h.commands[id] = printed{at, fmt.Sprintf(`{"run":%q,"operation":"backup","started":%q,"state":%q,"exit":%s,"log":%d,"result":%d,"more":false}`+"\n%s",
		h.run, h.began.UTC().Format(time.RFC3339), state, exit, max(told, until), result, text)}
	return id
}

func (h *host) invocation(command, instance string) map[string]any {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked++
	answer := h.commands[command]
	told := map[string]any{"CommandId": command, "InstanceId": instance, "Status": "InProgress", "StatusDetails": "InProgress", "ResponseCode": -1}
	if !time.Now().Before(answer.at) {
		told["Status"], told["StatusDetails"], told["ResponseCode"], told["StandardOutputContent"] = "Success", "Success", 0, answer.text
	}
	return told
}

// check says whether the backup was followed all the time.
func (h *host) check() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.bad) > 0 || h.run == "" || len(h.commands) < 2 || time.Since(h.began) < h.lasts {
		return fmt.Errorf("run %q was not followed for %s: %d commands, %d looks, calls that nobody plays: %q", h.run, h.lasts, len(h.commands), h.asked, h.bad)
	}
	return nil
}
