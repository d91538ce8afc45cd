package faults

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"gitlab-codedeploy/test/faults/cloud"
)

// world is one run of a schedule: the simulated account, the processes of both
// functions, and what is known about each upload.
//
// A run is a sequence of steps. Before each, every process that is working on
// an invocation has either called AWS or answered; then one thing is chosen:
// answer one of the calls, hand a batch to an idle process, let time pass. So
// two processes at work are two real programs in a chosen order, and the same
// seed chooses the same order.
type world struct {
	schedule schedule
	aws      *cloud.AWS
	began    time.Time // simulated
	random   *rand.Rand
	// choose picks one of n possible steps with these weights. Normally random.
	choose func(weights []int) int

	*crew
	invocations map[string]int
	recovered   int // times that AWS became well and the dead letters were sent back

	uploads  []*placed
	foreign  foreign // the last one that somebody tried to deploy
	messages map[*cloud.Message][]*placed
	events   []*notification // due
	dead     []*notification
	history  map[string][]statusObject          // by key
	states   map[string]map[string]statusObject // the present ones, by artifact and key

	trace      []string
	violations []string
	calls      int
	served     *invocation // whose call is being answered
}

// placed is an upload that has happened.
type placed struct {
	upload
	number   int
	version  *cloud.Version
	replaced bool // a newer version or a marker lies on its key
	removed  bool // the version itself is gone
	messages int  // sent about it so far
}

func (u *placed) String() string { return fmt.Sprintf("upload %d", u.number) }

// notification is a state-change event on its way to the status function.
type notification struct {
	deployment *cloud.Deployment
	state      string
	tries      int
}

// crew is the processes of a world. Another world may take it over.
type crew struct {
	triggers, statuses []*slot
	arrivals           chan arrival
	running            int   // processes that have not exited
	peak               int64 // KiB, of any trigger process
}

// slot is a place for one process at a time.
type slot struct {
	name    string
	program program
	process *process // nil before the first invocation and after an end
	work    *invocation
}

// invocation is a slot's work.
type invocation struct {
	number   int // among those of the function, from 1
	messages []*cloud.Message
	event    *notification
	began    time.Time // simulated
	started  time.Time // real
	deadline time.Time // real
	faults   []fault
	calls    int
	pending  *call
	release  func()    // answers a stalled call
	stalled  time.Time // simulated; until then
	end      *result   // nil until it ended; without payload if it crashed
	injured  bool      // a fault was put into it
	busy     map[cloud.Pair]bool
	outdated map[*placed]bool // replaced or gone before the invocation began
	forget   bool             // the answer has no effect on the queue
}

// statusObject is a deployments/<id>.json, in the form of the design.
type statusObject struct {
	UploadID        string `json:"uploadId"`
	State           string `json:"state"`
	DeploymentID    string `json:"deploymentId"`
	Application     string `json:"application"`
	DeploymentGroup string `json:"deploymentGroup"`
	Key             string `json:"key"`
	VersionID       string `json:"versionId"`
	Reason          string `json:"reason"`
	UpdatedAt       string `json:"updatedAt"`

	Claim json.RawMessage `json:"claim"` // the functions' own affair
}

const (
	// patience is how long, in real time, a process may be silent.
	patience = 30 * time.Second
	// shortDeadline is for invocations in which AWS will not answer. The
	// trigger keeps a second of it for its own answer.
	shortDeadline = 1700 * time.Millisecond
	// longestInvocation bounds simulated time; Lambda's own limit is 30 s.
	longestInvocation = 20 * time.Second
)

// hire returns a crew with room for so many trigger processes; none runs yet.
func hire(pollers int) (*crew, error) {
	trigger, status, err := buildPrograms()
	if err != nil {
		return nil, err
	}
	c := &crew{arrivals: make(chan arrival, 256)}
	for i := range pollers {
		c.triggers = append(c.triggers, &slot{name: fmt.Sprintf("trigger-%d", i+1), program: trigger})
	}
	for i := range 2 {
		c.statuses = append(c.statuses, &slot{name: fmt.Sprintf("status-%d", i+1), program: status})
	}
	return c, nil
}

func newWorld(s schedule, c *crew) *world {
	// In the past, so that the processes' own clocks are ahead of everything:
	// an end of a time range at "now" then cuts nothing off.
	began := time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -30)
	w := &world{
		schedule:    s,
		crew:        c,
		began:       began,
		aws:         cloud.New(began, rand.New(rand.NewPCG(s.Seed, 2)), bucketName),
		random:      rand.New(rand.NewPCG(s.Seed, 3)),
		invocations: map[string]int{},
		messages:    map[*cloud.Message][]*placed{},
		history:     map[string][]statusObject{},
		states:      map[string]map[string]statusObject{},
	}
	w.choose = w.chooseAtRandom
	w.aws.Queue.MaxReceives = s.Receives
	w.aws.Queue.Changed = w.hidden
	w.aws.Bucket.Written = w.written
	d := w.aws.Deployments
	d.PageSize, d.Lag, d.Skew = s.PageSize, s.Lag, s.Skew
	d.Course, d.Changed = w.course, w.changed
	for i, pair := range goodGroups {
		d.AddGroup(&cloud.Group{Pair: pair, RollsBack: len(s.RollBack) > i && s.RollBack[i]})
	}
	for _, pair := range append(loadGroups, unlistedGroup, crossedGroup) {
		d.AddGroup(&cloud.Group{Pair: pair})
	}
	d.AddGroup(&cloud.Group{Pair: inPlaceGroup, InPlace: true})
	w.book()
	return w
}

// book puts the schedule on the agenda.
func (w *world) book() {
	for i, u := range w.schedule.Uploads {
		w.aws.Clock.After(u.At, func() { w.upload(i, u) })
	}
	for _, f := range w.schedule.Foreign {
		w.aws.Clock.After(f.At, func() {
			// Its description tries to look like one of the trigger's.
			w.foreign = f
			d := w.aws.Deployments.Start(w.aws.Deployments.Group(f.Pair), "user", "upload-id=x uploaded=2099-01-01T00:00:00.000Z",
				json.RawMessage(`{"revisionType":"S3","s3Location":{"bucket":"somebody-elses","key":"artifacts/x.zip","version":"v","bundleType":"zip"}}`))
			w.tracef("somebody deploys to %s: %v", f.Pair, d != nil)
		})
	}
	for _, n := range w.schedule.Noise {
		w.aws.Clock.After(n.At, func() {
			w.tracef("noise: %s", n.Body)
			w.aws.Queue.Send(n.Body, false)
		})
	}
}

func (w *world) upload(number int, u upload) {
	for _, other := range w.uploads {
		if other.Key == u.Key {
			other.replaced = true
		}
	}
	p := &placed{upload: u, number: number}
	p.version = w.aws.Bucket.Put(u.Key, u.Metadata, fmt.Appendf(nil, "artifact %d", number))
	w.uploads = append(w.uploads, p)
	w.tracef("%s: %s version %s for %s", p, u.Key, p.version.ID, u.Pair)
	body := w.aws.Bucket.Event(p.version)
	for _, e := range u.Events {
		w.aws.Clock.After(e.Late, func() {
			body := body
			if e.Bad {
				body = strings.Replace(body, `{"Records":[`, `{"Records":[`+badRecord+`,`, 1)
			}
			m := w.aws.Queue.Send(body, e.Twice)
			p.messages++
			w.messages[m] = append(w.messages[m], p)
			w.tracef("%s is an event of %s", m.ID, p)
		})
	}
	switch u.Gone {
	case "deleted":
		w.aws.Clock.After(u.GoneAt, func() {
			if p.replaced {
				return
			}
			w.tracef("%s is deleted", p)
			w.aws.Bucket.Delete(u.Key)
			p.replaced = true
		})
	case "removed":
		w.aws.Clock.After(u.GoneAt, func() {
			w.tracef("%s is removed for good", p)
			w.aws.Bucket.Remove(p.version)
			p.removed = true
		})
	}
}

// changed books the events of a deployment: late, in any order, some twice.
func (w *world) changed(d *cloud.Deployment, state string) {
	w.tracef("%s is %s", d.ID, d.Status)
	for copies := 1; copies > 0; copies-- {
		w.aws.Clock.After(jitter(w.random, pick(w.random, w.schedule.Soon, w.schedule.Late)), func() {
			w.events = append(w.events, &notification{deployment: d, state: state})
		})
		if w.random.IntN(5) == 0 {
			copies++
		}
	}
}

// step is one thing that may happen next.
type step struct {
	weight int
	do     func() error
}

func (w *world) chooseAtRandom(weights []int) int {
	total := 0
	for _, weight := range weights {
		total += weight
	}
	n := w.random.IntN(total)
	for i, weight := range weights {
		if n -= weight; n < 0 {
			return i
		}
	}
	panic("weights are positive")
}

// run plays the schedule until nothing is left to happen.
func (w *world) run() error {
	// Far more than a run needs that comes to rest.
	for range 20000 + 500*len(w.schedule.Uploads) {
		if err := w.settle(); err != nil {
			return err
		}
		if len(w.violations) > 0 {
			return nil // What follows from a wrong step explains nothing.
		}
		steps := w.steps()
		if len(steps) == 0 {
			if w.recover() {
				continue
			}
			w.judge()
			return nil
		}
		weights := make([]int, len(steps))
		for i, s := range steps {
			weights[i] = s.weight
		}
		chosen := 0
		if len(steps) > 1 {
			chosen = w.choose(weights)
		}
		if err := steps[chosen].do(); err != nil {
			return err
		}
	}
	w.violate("does not come to rest: %d messages wait", len(w.aws.Queue.Waiting()))
	return nil
}

// steps lists what may happen next, in an order that depends on the schedule only.
func (w *world) steps() []step {
	var steps []step
	oldest, stalls := time.Time{}, false
	for _, s := range slices.Concat(w.triggers, w.statuses) {
		if s.work == nil {
			continue
		}
		if oldest.IsZero() || s.work.began.Before(oldest) {
			oldest = s.work.began
		}
		if s.work.end != nil {
			return []step{{1, func() error { w.finish(s); return nil }}}
		}
		if s.work.pending != nil {
			steps = append(steps, step{10, func() error { w.serve(s); return nil }})
		}
		if s.work.release != nil {
			stalls = true
			if !w.aws.Clock.Now().Before(s.work.stalled) {
				return []step{{1, func() error { s.work.release(); return nil }}}
			}
		}
	}
	if s := idle(w.triggers); s != nil && w.aws.Queue.Visible() > 0 {
		steps = append(steps, step{8, func() error { return w.startTrigger(s) }})
	}
	if s := idle(w.statuses); s != nil && len(w.events) > 0 {
		steps = append(steps, step{5, func() error { return w.startStatus(s) }})
	}
	if stalls && len(steps) > 0 {
		return steps // The others get as far as they can.
	}
	if due, ok := w.aws.Clock.Due(); ok && (oldest.IsZero() || due.Before(oldest.Add(longestInvocation))) {
		steps = append(steps, step{2, func() error { w.aws.Clock.Next(); return nil }})
	}
	return steps
}

func idle(slots []*slot) *slot {
	for _, s := range slots {
		if s.work == nil {
			return s
		}
	}
	return nil
}

// recover makes AWS well, and has an operator send back what died; false when
// there is nothing to send.
func (w *world) recover() bool {
	if len(w.aws.Queue.Dead())+len(w.dead) == 0 {
		return false
	}
	w.recovered++
	if w.recovered > 1 && w.schedule.Receives > 100 || w.recovered > 50 {
		w.violate("letters die although AWS is well")
		return false
	}
	w.tracef("AWS is well; %d messages and %d events are sent back", len(w.aws.Queue.Dead()), len(w.dead))
	w.aws.Queue.Redrive()
	w.events = append(w.events, w.dead...)
	for _, n := range w.dead {
		n.tries = 0
	}
	w.dead = nil
	return true
}

// settle waits until each process at work has a call for us, or is through.
func (w *world) settle() error {
	for {
		var waiting *slot
		for _, s := range slices.Concat(w.triggers, w.statuses) {
			if s.work != nil && s.work.pending == nil && s.work.end == nil && s.work.release == nil && (waiting == nil || s.work.deadline.Before(waiting.work.deadline)) {
				waiting = s
			}
		}
		if waiting == nil {
			return nil
		}
		timeout := time.NewTimer(time.Until(waiting.work.deadline))
		select {
		case a := <-w.arrivals:
			timeout.Stop()
			if err := w.arrived(a); err != nil {
				return err
			}
		case <-timeout.C:
			w.tracef("%s ran out of time", waiting.name)
			waiting.work.injured = true
			w.kill(waiting)
		}
	}
}

func (w *world) arrived(a arrival) error {
	if a.exit {
		w.running--
	}
	if a.err != nil {
		return a.err
	}
	var s *slot
	for _, other := range slices.Concat(w.triggers, w.statuses) {
		if other.process == a.from {
			s = other
		}
	}
	switch {
	case s == nil || a.ready: // a killed process's last words, or nothing to do yet
	case a.gone != nil:
		if s.work != nil && a.gone == s.work.pending {
			s.work.pending = nil // It never reached AWS.
		}
	case a.exit:
		w.violate("%s ended by itself:\n%s", s.name, a.from.log.String())
		s.process = nil
		if s.work != nil && s.work.end == nil {
			s.work.end = &result{}
		}
	case s.work == nil:
		// A call that was given up in the moment in which it was made, and is
		// overtaken by the answer to the invocation.
	case a.call != nil:
		s.work.calls++
		s.work.pending = a.call
	case a.result != nil:
		s.work.end = a.result
	}
	return nil
}

// kill is SIGKILL: whatever the process was at ends as if it had crashed.
func (w *world) kill(s *slot) {
	w.end(s)
	s.work.pending = nil
	s.work.end = &result{}
}

func (w *world) startTrigger(s *slot) error {
	messages := w.aws.Queue.Receive(w.schedule.Batch)
	if len(messages) == 0 {
		return nil // All were dead letters.
	}
	ids := []string{}
	records := []any{}
	for _, m := range messages {
		ids = append(ids, fmt.Sprintf("%s (receive %d)", m.ID, m.Receives))
		records = append(records, map[string]any{
			"messageId":     m.ID,
			"receiptHandle": m.Receipt,
			"body":          m.Body,
			"attributes": map[string]string{
				"ApproximateReceiveCount": fmt.Sprint(m.Receives),
				"SentTimestamp":           fmt.Sprint(m.Sent.UnixMilli()),
			},
			"messageAttributes": map[string]any{},
			"eventSource":       "aws:sqs",
			"eventSourceARN":    queueARN,
			"awsRegion":         "ap-northeast-1",
		})
	}
	w.tracef("%s gets %s", s.name, strings.Join(ids, ", "))
	return w.start(s, &invocation{messages: messages}, map[string]any{"Records": records}, map[string]string{
		"ARTIFACT_BUCKET": bucketName, "ARTIFACT_PREFIX": artifactPrefix, "QUEUE_URL": queueURL,
	})
}

const (
	queueARN = "arn:aws:sqs:ap-northeast-1:222222222222:artifacts"
	queueURL = "https://sqs.ap-northeast-1.amazonaws.com/222222222222/artifacts"
)

// startStatus sends an event in the form of
// https://docs.aws.amazon.com/codedeploy/latest/userguide/monitoring-cloudwatch-events.html
func (w *world) startStatus(s *slot) error {
	i := w.random.IntN(len(w.events))
	n := w.events[i]
	w.events = slices.Delete(w.events, i, i+1)
	n.tries++
	d := n.deployment
	w.tracef("%s gets %s of %s, try %d", s.name, n.state, d.ID, n.tries)
	arn := "arn:aws:codedeploy:ap-northeast-1:222222222222:"
	return w.start(s, &invocation{event: n}, map[string]any{
		"version": "0", "id": "c071bfbf-83c4-49ca-a6ff-3df053957145",
		"account": "222222222222", "region": "ap-northeast-1",
		"time":        w.aws.Clock.Now().Format(time.RFC3339),
		"source":      "aws.codedeploy",
		"detail-type": "CodeDeploy Deployment State-change Notification",
		"resources":   []string{arn + "application:" + d.Pair.Application, arn + "deploymentgroup:" + d.Pair.String()},
		"detail": map[string]string{
			"instanceGroupId": "9fd2fbef-2157-40d8-91e7-6845af69e2d2",
			"region":          "ap-northeast-1",
			"application":     d.Pair.Application,
			"deploymentGroup": d.Pair.Group,
			"deploymentId":    d.ID,
			"state":           n.state,
		},
	}, map[string]string{"ARTIFACT_BUCKET": bucketName, "ARTIFACT_PREFIX": artifactPrefix})
}

// start hands an event to the slot's process, and starts one if there is none.
func (w *world) start(s *slot, work *invocation, input any, env map[string]string) error {
	payload, err := json.Marshal(input)
	if err != nil {
		return err
	}
	if s.process == nil {
		if s.process, err = start(s.program, s.name, env, w.arrivals); err != nil {
			return err
		}
		w.running++
	}
	w.invocations[s.program.name]++
	work.number = w.invocations[s.program.name]
	work.began = w.aws.Clock.Now()
	work.busy, work.outdated = map[cloud.Pair]bool{}, map[*placed]bool{}
	for _, m := range work.messages {
		for _, u := range w.messages[m] {
			work.outdated[u] = w.aws.Bucket.Current(u.Key) != u.version
		}
	}
	limit := patience
	for _, f := range w.schedule.Faults {
		if w.recovered > 0 || f.Function != s.program.name || f.Invocation != work.number {
			continue
		}
		work.faults = append(work.faults, f)
		switch f.Kind {
		case slowBefore, slowAfter, delayed:
			limit = shortDeadline
			work.injured = true // Too short for more than one message.
		case undeleted:
			work.forget = true
		}
	}
	work.started = time.Now()
	work.deadline = work.started.Add(limit)
	s.work = work
	s.process.invoke(event{id: fmt.Sprintf("%s-%d", s.program.name, work.number), payload: payload, deadline: work.deadline})
	return nil
}

// serve answers the slot's call, or does to it what the schedule says.
func (w *world) serve(s *slot) {
	work, c := s.work, s.work.pending
	work.pending = nil
	w.calls++
	w.aws.Clock.Tick(time.Duration(1+w.random.IntN(30)) * time.Millisecond)
	label := fmt.Sprintf("%s call %d.%d %s", s.name, work.number, work.calls, clip(c.request.String()))
	reply := func(a cloud.Response) { c.answer <- a.Send }
	effect := func() cloud.Response {
		w.served = work
		a := w.aws.Serve(c.request)
		if c.request.Operation == "GetObject" && a.Status == http.StatusOK {
			a.Body = w.shift(a.Body, c.request.Key)
			a.Header.Set("Content-Length", strconv.Itoa(len(a.Body)))
		}
		w.tracef("%s → %s", label, clip(a.String()))
		w.observe(s.name, work, c.request, a)
		return a
	}
	f := work.fault(c.request.Operation)
	if f == "" {
		reply(effect())
		return
	}
	work.injured = true
	label += " [" + string(f) + "]"
	if f == stalled {
		w.stall(work, effect(), reply)
		return
	}
	switch f {
	case killAfter, resetAfter, slowAfter, errorAfter:
		effect()
	default:
		w.tracef("%s", label)
	}
	switch f {
	case killBefore, killAfter:
		w.kill(s)
		c.answer <- nil
	case resetBefore, resetAfter:
		c.answer <- nil
	case slowBefore, slowAfter: // never
	case delayed:
		w.aws.Clock.After(jitter(w.random, 5*time.Second), func() { effect() })
	default:
		reply(refusal(f, c.request))
	}
}

// stall keeps an answer for longer than a look at a group's deployments is
// good for, by the process's clock, while the world goes on.
func (w *world) stall(work *invocation, a cloud.Response, reply func(cloud.Response)) {
	const simulated, real = 15 * time.Second, 2200 * time.Millisecond
	work.stalled = w.aws.Clock.Now().Add(simulated)
	w.aws.Clock.After(simulated, func() {})
	ready := time.Now().Add(real)
	work.release = func() {
		work.release = nil
		time.Sleep(time.Until(ready))
		reply(a)
	}
}

// shift moves the time in a status object, so that it looks as old to a process
// as it is here: processes have real clocks, on which a run takes no time.
func (w *world) shift(body []byte, key string) []byte {
	var fields map[string]any
	if json.Unmarshal(body, &fields) != nil {
		return body
	}
	age := w.aws.Clock.Now().Sub(w.aws.Bucket.Current(key).Modified)
	fields["updatedAt"] = time.Now().UTC().Add(-age).Format("2006-01-02T15:04:05.000Z")
	shifted, err := json.Marshal(fields)
	if err != nil {
		return body
	}
	return shifted
}

// refusal is the answer of the fault's name, in the words of the service.
func refusal(f kind, r cloud.Request) cloud.Response {
	s3 := r.Service == "s3"
	switch {
	case f == throttled && s3:
		return cloud.Refuse(r, http.StatusServiceUnavailable, "SlowDown", "Please reduce your request rate.")
	case f == throttled:
		return cloud.Refuse(r, http.StatusBadRequest, "ThrottlingException", "Rate exceeded")
	case f == denied && s3:
		return cloud.Refuse(r, http.StatusForbidden, "AccessDenied", "Access Denied")
	case f == denied:
		return cloud.Refuse(r, http.StatusBadRequest, "AccessDeniedException", "not authorized to perform "+r.Operation)
	case f == busy:
		return cloud.Busy(r)
	case f == conflict:
		return cloud.Refuse(r, http.StatusConflict, "ConditionalRequestConflict", "A conflicting operation occurred against this resource.")
	case s3:
		return cloud.Refuse(r, http.StatusInternalServerError, "InternalError", "We encountered an internal error. Please try again.")
	}
	return cloud.Refuse(r, http.StatusInternalServerError, "InternalFailure", "The request processing has failed.")
}

// fault picks the fault of the invocation's present call, and uses it up.
func (i *invocation) fault(operation string) kind {
	for n := range i.faults {
		f := &i.faults[n]
		if f.Times == 0 || i.calls < f.Call {
			continue
		}
		switch {
		case f.Kind == undeleted,
			f.Kind == busy && operation != "CreateDeployment",
			f.Kind == stalled && operation != "ListDeployments",
			f.Kind == conflict && operation != "PutObject":
			continue
		}
		f.Times--
		return f.Kind
	}
	return ""
}

// finish does what Lambda does with the end of an invocation.
func (w *world) finish(s *slot) {
	work := s.work
	s.work = nil
	if work.event != nil {
		w.finishStatus(s, work)
		return
	}
	if work.end.payload == nil || work.end.failed {
		w.tracef("%s: invocation %d failed: %s", s.name, work.number, work.end.payload)
		if work.end.failed {
			w.violate("the trigger answered with an error: %s", work.end.payload)
		}
		return // The messages become visible again by themselves.
	}
	var answer struct {
		BatchItemFailures []struct{ ItemIdentifier string }
	}
	if err := json.Unmarshal(work.end.payload, &answer); err != nil {
		w.violate("the trigger's answer is no batch response: %s", work.end.payload)
		return
	}
	failed := map[string]bool{}
	for _, f := range answer.BatchItemFailures {
		failed[f.ItemIdentifier] = true
	}
	w.tracef("%s: invocation %d ends, to come again: %v", s.name, work.number, slices.Sorted(maps.Keys(failed)))
	for _, m := range work.messages {
		if failed[m.ID] {
			delete(failed, m.ID)
			w.retried(work, m)
			continue
		}
		w.acknowledged(m)
		if work.forget {
			w.tracef("%s is not deleted", m.ID)
		} else {
			w.aws.Queue.Delete(m)
		}
	}
	for id := range failed {
		w.violate("the trigger's answer names %q, which is not in the batch", id)
	}
}

// finishStatus plays Lambda's asynchronous invocation: two more tries, then
// the event is a dead letter.
// https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
func (w *world) finishStatus(s *slot, work *invocation) {
	if work.end.payload != nil && !work.end.failed {
		if work.forget {
			w.events = append(w.events, &notification{deployment: work.event.deployment, state: work.event.state})
		}
		return
	}
	w.tracef("%s: invocation %d failed: %s", s.name, work.number, work.end.payload)
	if !work.injured {
		w.violate("the status function failed without a cause: %s", work.end.payload)
	}
	if work.event.tries == 3 {
		w.dead = append(w.dead, work.event)
		return
	}
	w.aws.Clock.After(time.Duration(work.event.tries)*time.Minute, func() { w.events = append(w.events, work.event) })
}

// dismiss ends all processes and waits until none has anything to say.
func (c *crew) dismiss() {
	for _, s := range slices.Concat(c.triggers, c.statuses) {
		c.end(s)
	}
	for c.running > 0 {
		if a := <-c.arrivals; a.exit {
			c.running--
		}
	}
}

// end kills the slot's process, if it has one.
func (c *crew) end(s *slot) {
	if s.process == nil {
		return
	}
	if s.process.measure(); s.program.name == "trigger" {
		c.peak = max(c.peak, s.process.peak.Load())
	}
	s.process.kill()
	s.process = nil
}

func (w *world) tracef(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf("%12s  ", w.aws.Clock.Now().Sub(w.began).Round(time.Millisecond))+fmt.Sprintf(format, args...))
}

// violate notes that something happened that must not.
func (w *world) violate(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.violations = append(w.violations, text)
	w.tracef("VIOLATION: %s", text)
}

func clip(text string) string {
	if len(text) > 400 {
		return text[:400] + "…"
	}
	return text
}
