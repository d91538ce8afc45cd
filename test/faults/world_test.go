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
	"sync"
	"testing/synctest"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"gitlab-codedeploy/test/faults/cloud"
)

// world is one run of a schedule: the simulated account, the functions, and
// what is known about each upload.
//
// A run is a sequence of steps, in the bubble of a synctest: the functions, the
// SDK and this simulation share one clock, which stands still while anybody
// computes. Before each step, every invocation has called AWS, or sleeps, or has
// answered; then one thing is chosen: answer one of the calls, hand a batch to an
// idle function, let time pass. The same seed chooses the same order.
type world struct {
	schedule schedule
	aws      *cloud.AWS
	began    time.Time // simulated
	random   *rand.Rand
	// choose picks one of n possible steps with these weights. Normally random.
	choose func(weights []int) int

	triggers, statuses []*slot
	mu                 sync.Mutex // guards arrivals, between steps
	arrivals           []arrival
	noticed            chan struct{} // an arrival came
	invocations        map[string]int
	redriven           int // times that an operator sent the dead letters back
	quietRuns          int // of the schedule, since nothing was left to do

	uploads  []*placed
	orders   []*placedOrder
	ordersBy map[*cloud.Message]*placedOrder
	parked   map[cloud.Pair]string   // versions that wait until their group is resumed
	toTell   map[cloud.Pair][]string // versions whose end is decided, and not told for sure
	// orderStates are the present ones, by id.
	orderStates map[string]statusObject
	foreign     foreign // the last one that somebody tried to deploy
	messages    map[*cloud.Message][]*placed
	events      []*notification // due
	dead        []*notification
	history     map[string][]statusObject          // by key
	states      map[string]map[string]statusObject // the present ones, by artifact and key
	tokens      map[string][]*token                // by key, in the order in which they were put
	signed      int                                // tokens so far
	spent       map[spending]*placed

	trace      []string
	violations []string
	calls      int
	served     *invocation // whose call is being answered
}

// placed is an upload that has happened.
type placed struct {
	upload
	number  int
	version *cloud.Version
	deleted bool // a marker lies on its key
	taken   bool // a marker lay on its key at some time: somebody took it back
	removed bool // the version itself is gone
	sent    int  // messages about it so far

	accepted bool // by its group's record, at some time
	named    bool // by that record or a state under its upload id, at some time
	early    bool // somebody deployed it by hand before the trigger was done with it
	done     bool // the trigger has had a message of S3's about it

	token  *token // that the job had
	proven bool   // a record or a state says whose it is
	hand   bool   // somebody has deployed it by hand
}

func (u *placed) String() string { return fmt.Sprintf("upload %d", u.number) }

// notification is what the status function is called for: a state-change event
// on its way, or the schedule.
type notification struct {
	deployment *cloud.Deployment // nil: the schedule
	state      string
	tries      int
}

func (n *notification) String() string {
	if n.deployment == nil {
		return "the schedule"
	}
	return n.state + " of " + n.deployment.ID
}

// slot is a place for one function at a time.
type slot struct {
	name, program string
	function      *function // nil before the first invocation and after an end
	work          *invocation
}

// invocation is a slot's work.
type invocation struct {
	number   int // among those of the function, from 1
	messages []*cloud.Message
	event    *notification
	began    time.Time
	faults   []fault
	calls    int
	pending  *call
	release  func()                   // answers a stalled call
	stalled  time.Time                // until then
	end      *result                  // nil until it ended
	injured  bool                     // a fault was put into it
	looked   map[cloud.Pair]time.Time // when it last asked for the list of a group's deployments
	withdrew map[*placed]bool         // deleted or gone before the invocation began
	forget   bool                     // the answer has no effect on the queue
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

	Group struct {
		Traffic            string `json:"traffic"`
		TrafficMinutes     int    `json:"trafficMinutes"`
		Termination        string `json:"termination"`
		TerminationMinutes int    `json:"terminationMinutes"`
	} `json:"group"`
	TrafficMoved bool `json:"trafficMoved"`
	GivenUp      bool `json:"givenUp"`

	Order struct {
		Kind, Operator, FromVersionID, FromGroup string
	} `json:"order"`

	Project     string `json:"project"`
	Ref         string `json:"ref"`
	User        string `json:"user"`
	PipelineURL string `json:"pipelineUrl"`
}

const (
	// lambdaTimeout is the functions' own; Lambda kills what is not done then.
	lambdaTimeout = 30 * time.Second
	// answers and handsOut are the weights of the steps that answer a call, and
	// that hand messages to the trigger.
	answers, handsOut = 10, 8
	// every is how often the schedule calls the status function.
	every = 5 * time.Minute
)

func newWorld(s schedule) *world {
	w := &world{
		schedule:    s,
		began:       time.Now().UTC(),
		random:      rand.New(rand.NewPCG(s.Seed, 3)),
		noticed:     make(chan struct{}, 1),
		invocations: map[string]int{},
		messages:    map[*cloud.Message][]*placed{},
		ordersBy:    map[*cloud.Message]*placedOrder{},
		parked:      map[cloud.Pair]string{},
		toTell:      map[cloud.Pair][]string{},
		orderStates: map[string]statusObject{},
		history:     map[string][]statusObject{},
		states:      map[string]map[string]statusObject{},
		tokens:      map[string][]*token{},
		spent:       map[spending]*placed{},
	}
	w.aws = cloud.New(w.began, rand.New(rand.NewPCG(s.Seed, 2)), bucketName)
	w.aws.Clock.Live = true
	for i := range s.Pollers {
		w.triggers = append(w.triggers, &slot{name: fmt.Sprintf("trigger-%d", i+1), program: "trigger"})
	}
	for i := range 2 {
		w.statuses = append(w.statuses, &slot{name: fmt.Sprintf("status-%d", i+1), program: "status"})
	}
	w.choose = w.chooseAtRandom
	w.aws.Queue.MaxReceives = s.Receives
	w.aws.Queue.Changed = w.hidden
	w.aws.Queue.Told = w.kicked
	w.aws.Bucket.Written = w.written
	d := w.aws.Deployments
	d.PageSize, d.Lag, d.Skew, d.AccountLimit = s.PageSize, s.Lag, s.Skew, s.AccountLimit
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
		w.aws.Clock.After(f.At, func() { w.byHand(f) })
	}
	for _, n := range w.schedule.Noise {
		w.aws.Clock.After(n.At, func() {
			w.tracef("noise: %s", n.Body)
			w.aws.Queue.Send(n.Body, false)
		})
	}
	for i, o := range w.schedule.Orders {
		w.aws.Clock.After(o.At, func() { w.order(i, o) })
	}
	for _, a := range w.schedule.AutoScaling {
		for i := range a.Count {
			w.aws.Clock.After(a.At+time.Duration(i)*a.Pause, func() {
				w.foreign = foreign{Lasts: a.Lasts}
				w.aws.Deployments.Start(w.aws.Deployments.Group(a.Pair), cloud.Autoscaling, "", json.RawMessage(foreignRevision))
			})
		}
	}
	w.aws.Clock.After(every, w.scheduled)
}

// scheduled calls the status function as long as anything is left to do, and a
// few times more.
func (w *world) scheduled() {
	w.events = append(w.events, &notification{})
	if w.quietRuns++; !w.quiet() {
		w.quietRuns = 0
	}
	if w.quietRuns < 3 {
		w.aws.Clock.After(every, w.scheduled)
	}
}

// quiet says whether every upload has its end, as far as the job can see.
func (w *world) quiet() bool {
	if !w.ordersQuiet() {
		return false
	}
	if len(w.uploads) < len(w.schedule.Uploads) || len(w.aws.Queue.Waiting()) > 0 {
		return false
	}
	for _, u := range w.uploads {
		found := w.statusesOf(u)
		if w.waitsForResume(u) {
			continue
		}
		if len(found) == 0 || slices.ContainsFunc(found, func(s statusObject) bool { return rank[s.State] != final }) {
			return false
		}
	}
	return true
}

const foreignRevision = `{"revisionType":"S3","s3Location":{"bucket":"somebody-elses","key":"artifacts/x.zip","version":"v","bundleType":"zip"}}`

// byHand lets somebody make a deployment in the console: of another bucket, or of
// an upload that happened. Its description tries to look like one of the trigger's.
func (w *world) byHand(f foreign) {
	w.foreign = f
	revision, what := foreignRevision, "something"
	if f.Upload > 0 {
		if len(w.uploads) < f.Upload || w.uploads[f.Upload-1].removed {
			return
		}
		u := w.uploads[f.Upload-1]
		if reason, sure := w.refusal(u); reason != "" || !sure {
			return // What was refused is uploaded again.
		}
		u.hand = true
		revision, what = fmt.Sprintf(`{"revisionType":"S3","s3Location":{"bucket":%q,"key":%q,"version":%q,"bundleType":"zip"}}`, bucketName, u.Key, u.version.ID), u.String()
	}
	d := w.aws.Deployments.Start(w.aws.Deployments.Group(f.Pair), "user", f.Description, json.RawMessage(revision))
	w.tracef("somebody deploys %s to %s: %v", what, f.Pair, d != nil)
}

func (w *world) upload(number int, u upload) {
	p := &placed{upload: u, number: number}
	for _, other := range w.uploads {
		if other.Key == u.Key {
			other.deleted = false
		}
	}
	w.putTokens(p)
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
			p.sent++
			w.messages[m] = append(w.messages[m], p)
			w.tracef("%s is an event of %s", m.ID, p)
		})
	}
	switch u.Gone {
	case "deleted":
		w.aws.Clock.After(u.GoneAt, func() {
			if w.aws.Bucket.Current(u.Key) != p.version {
				return
			}
			w.tracef("%s is deleted", p)
			w.aws.Bucket.Delete(u.Key)
			for _, other := range w.uploads {
				other.deleted = other.deleted || other.Key == u.Key
				other.taken = other.taken || other.Key == u.Key
			}
		})
	case "removed":
		w.aws.Clock.After(u.GoneAt, func() {
			w.tracef("%s is removed for good", p)
			w.aws.Bucket.Remove(p.version)
			p.removed = true
		})
	}
}

// kicked is told of a message that a function has sent.
func (w *world) kicked(m *cloud.Message) {
	for _, o := range w.orders {
		if strings.Contains(m.Body, o.version.ID) {
			w.ordersBy[m] = o
			w.tracef("%s is sent about %s", m.ID, o)
		}
	}
	for _, u := range w.uploads {
		if strings.Contains(m.Body, u.version.ID) {
			w.messages[m] = append(w.messages[m], u)
			w.tracef("%s is sent about %s", m.ID, u)
		}
	}
}

// changed books the events of a deployment: late, in any order, some twice, some
// never.
func (w *world) changed(d *cloud.Deployment, state string) {
	w.tracef("%s is %s", d.ID, d.Status)
	for copies := 1; copies > 0; copies-- {
		lost := w.random.IntN(100) < w.schedule.Lost
		w.aws.Clock.After(jitter(w.random, pick(w.random, w.schedule.Soon, w.schedule.Late)), func() {
			if !lost {
				w.events = append(w.events, &notification{deployment: d, state: state})
			}
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
	defer w.dismiss()
	// Far more than a run needs that comes to rest: what waits for four days for
	// the account's deployments takes 100,000.
	for range 300_000 + 500*len(w.schedule.Uploads) {
		if err := w.settle(); err != nil {
			return err
		}
		if len(w.violations) > 0 {
			return nil // What follows from a wrong step explains nothing.
		}
		steps := w.steps()
		if len(steps) == 0 {
			if w.redrive() {
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
	for _, u := range w.uploads {
		w.tracef("%s: %+v", u, w.statusesOf(u))
	}
	return nil
}

// steps lists what may happen next, in an order that depends on the schedule only.
func (w *world) steps() []step {
	var steps []step
	oldest, stalls, sleeps := time.Time{}, false, false
	for _, s := range slices.Concat(w.triggers, w.statuses) {
		if s.work == nil {
			continue
		}
		if oldest.IsZero() || s.work.began.Before(oldest) {
			oldest = s.work.began
		}
		switch {
		case s.work.end != nil:
			return []step{{1, func() error { w.finish(s); return nil }}}
		case s.work.pending != nil:
			steps = append(steps, step{answers, func() error { w.serve(s); return nil }})
		case s.work.release != nil:
			stalls = true
			if !w.now().Before(s.work.stalled) {
				return []step{{1, func() error { s.work.release(); return nil }}}
			}
		default:
			sleeps = true // between two tries of a call, or until it is too late for an answer
		}
	}
	if s := idle(w.triggers); s != nil && w.aws.Queue.Visible() > 0 {
		steps = append(steps, step{handsOut, func() error { return w.startTrigger(s) }})
	}
	if s := idle(w.statuses); s != nil && len(w.events) > 0 {
		steps = append(steps, step{5, func() error { return w.startStatus(s) }})
	}
	if stalls && len(steps) > 0 {
		return steps // The others get as far as they can.
	}
	due, ok := w.aws.Clock.Due()
	slow := 20 * time.Second // AWS answers before that
	if sleeps && len(steps) == 0 || ok && (oldest.IsZero() || due.Before(oldest.Add(slow))) {
		steps = append(steps, step{2, func() error { w.pass(); return nil }})
	}
	return steps
}

// pass lets time pass, until something is due or a function calls.
func (w *world) pass() {
	due, ok := w.aws.Clock.Due()
	wait := lambdaTimeout
	if ok {
		wait = max(0, due.Sub(w.now()))
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-w.noticed:
	case <-timer.C:
		if ok {
			w.aws.Clock.Next()
		}
	}
}

func (w *world) now() time.Time { return w.aws.Clock.Now() }

func idle(slots []*slot) *slot {
	for _, s := range slots {
		if s.work == nil {
			return s
		}
	}
	return nil
}

// redrive has an operator send back what died, when nothing else is left to
// happen: false when there is nothing to send, or no operator.
func (w *world) redrive() bool {
	if len(w.aws.Queue.Dead()) == 0 && len(w.dead) == 0 || !w.schedule.Operator || w.redriven == 50 {
		return false
	}
	w.redriven++
	w.tracef("%d messages and %d events are sent back", len(w.aws.Queue.Dead()), len(w.dead))
	w.aws.Queue.Redrive()
	for _, n := range w.dead {
		n.tries = 0
		w.events = append(w.events, n)
	}
	w.dead = nil
	w.quietRuns = 0
	w.aws.Clock.After(every, w.scheduled)
	return true
}

// settle waits until each invocation at work has a call for us, sleeps, or is
// through.
func (w *world) settle() error {
	synctest.Wait()
	w.mu.Lock()
	arrivals := w.arrivals
	w.arrivals = nil
	w.mu.Unlock()
	select {
	case <-w.noticed:
	default:
	}
	// Several functions may have gone on at the same moment.
	slices.SortStableFunc(arrivals, func(a, b arrival) int { return strings.Compare(w.slotOf(a).name, w.slotOf(b).name) })
	for _, a := range arrivals {
		if a.err != nil {
			return a.err
		}
		s := w.slotOf(a)
		switch {
		case s.work == nil:
			return fmt.Errorf("%s does something without being asked", s.name)
		case a.call != nil:
			s.work.calls++
			s.work.pending = a.call
		case a.gone != nil:
			s.work.injured = true // It was not answered in time.
			if a.gone == s.work.pending {
				s.work.pending = nil // It never reached AWS.
			}
		case a.result != nil:
			s.work.end = a.result
		}
	}
	for _, s := range slices.Concat(w.triggers, w.statuses) {
		if s.work != nil && s.work.end == nil && w.now().Sub(s.work.began) >= lambdaTimeout {
			w.tracef("%s ran out of time", s.name)
			s.work.injured = true
			w.kill(s)
		}
	}
	return nil
}

func (w *world) slotOf(a arrival) *slot {
	for _, s := range slices.Concat(w.triggers, w.statuses) {
		if s.function == a.from {
			return s
		}
	}
	return &slot{name: "nobody"}
}

func (w *world) arrived(a arrival) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.arrivals = append(w.arrivals, a)
	select {
	case w.noticed <- struct{}{}:
	default:
	}
}

// kill is SIGKILL: whatever the function was at ends as if it had crashed.
func (w *world) kill(s *slot) {
	s.function.end()
	s.function = nil
	s.work.pending, s.work.release = nil, nil
	s.work.end = &result{killed: true}
}

func (w *world) startTrigger(s *slot) error {
	messages := w.aws.Queue.Receive(w.schedule.Batch)
	if len(messages) == 0 {
		return nil // All were dead letters.
	}
	if w.during(w.schedule.Throttled) {
		w.tracef("%d messages meet a throttled function", len(messages))
		return nil // They become visible again by themselves.
	}
	ids := []string{}
	var batch events.SQSEvent
	for _, m := range messages {
		ids = append(ids, fmt.Sprintf("%s (receive %d)", m.ID, m.Receives))
		batch.Records = append(batch.Records, events.SQSMessage{
			MessageId: m.ID, ReceiptHandle: m.Receipt, Body: m.Body,
			Attributes: map[string]string{
				"ApproximateReceiveCount": strconv.Itoa(m.Receives),
				"SentTimestamp":           strconv.FormatInt(m.Sent.UnixMilli(), 10),
			},
			EventSource: "aws:sqs", EventSourceARN: queueARN, AWSRegion: "ap-northeast-1",
		})
	}
	w.tracef("%s gets %s", s.name, strings.Join(ids, ", "))
	return w.start(s, &invocation{messages: messages}, batch)
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
	w.tracef("%s gets %s, try %d", s.name, n, n.tries)
	if n.deployment == nil {
		return w.start(s, &invocation{event: n}, map[string]any{"source": "aws.events", "detail-type": "Scheduled Event", "detail": map[string]any{}})
	}
	d := n.deployment
	arn := "arn:aws:codedeploy:ap-northeast-1:222222222222:"
	return w.start(s, &invocation{event: n}, map[string]any{
		"version": "0", "id": "c071bfbf-83c4-49ca-a6ff-3df053957145",
		"account": "222222222222", "region": "ap-northeast-1",
		"time":        w.now().Format(time.RFC3339),
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
	})
}

// start hands an event to the slot's function, and starts one if there is none.
func (w *world) start(s *slot, work *invocation, payload any) (err error) {
	if s.function == nil {
		if s.function, err = newFunction(s.program, w.arrived); err != nil {
			return err
		}
	}
	w.invocations[s.program]++
	work.number = w.invocations[s.program]
	work.began = w.now()
	work.withdrew, work.looked = map[*placed]bool{}, map[cloud.Pair]time.Time{}
	for _, m := range work.messages {
		for _, u := range w.messages[m] {
			work.withdrew[u] = u.deleted || u.removed
		}
	}
	for _, f := range w.schedule.Faults {
		if w.redriven > 0 || f.Function != s.program || f.Invocation != work.number {
			continue
		}
		work.faults = append(work.faults, f)
		work.forget = work.forget || f.Kind == undeleted
	}
	s.work = work
	s.function.invoke(fmt.Sprintf("%s-%d", s.program, work.number), payload, lambdaTimeout)
	return nil
}

// serve answers the slot's call, or does to it what the schedule says.
func (w *world) serve(s *slot) {
	work, c := s.work, s.work.pending
	work.pending = nil
	w.calls++
	w.aws.Clock.Tick(time.Duration(1+w.random.IntN(30))*time.Millisecond + w.schedule.Latency)
	label := fmt.Sprintf("%s call %d.%d %s", s.name, work.number, work.calls, clip(c.request.String()))
	effect := func() cloud.Response {
		w.served = work
		w.expireTokens()
		a := w.aws.Serve(c.request)
		w.tracef("%s → %s", label, clip(a.String()))
		w.observe(s.name, work, c.request, a)
		return a
	}
	reply := func(a cloud.Response) { c.answer <- &a }
	f := work.fault(c.request.Operation)
	if f == "" && w.during(w.schedule.Brownouts[c.request.Service]) && w.random.IntN(4) > 0 {
		f = pick(w.random, errorBefore, throttled, denied, resetBefore, resetAfter, errorAfter)
	}
	if f == "" {
		reply(effect())
		return
	}
	work.injured = true
	label += " [" + string(f) + "]"
	if f == stalled {
		a := effect()
		work.stalled = w.now().Add(5 * time.Second)
		w.aws.Clock.After(5*time.Second, func() {})
		work.release = func() {
			work.release = nil
			reply(a)
		}
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
	case resetBefore, resetAfter:
		c.answer <- nil
	case slowBefore, slowAfter: // never
	case delayed:
		w.aws.Clock.After(jitter(w.random, 5*time.Second), func() { effect() })
	default:
		reply(refusal(f, c.request))
	}
}

// during says whether it is one of these times.
func (w *world) during(times []span) bool {
	at := w.now().Sub(w.began)
	return w.redriven == 0 && slices.ContainsFunc(times, func(s span) bool { return at >= s.From && at < s.To })
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
	if work.end.killed || work.end.failed != "" {
		w.tracef("%s: invocation %d failed: %s", s.name, work.number, work.end.failed)
		if work.end.failed != "" {
			w.violate("the trigger answered with an error: %s", work.end.failed)
		}
		return // The messages become visible again by themselves.
	}
	failed := map[string]bool{}
	for _, id := range work.end.back {
		failed[id] = true
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
// the event is a dead letter. The schedule's are not kept: the next one comes.
// https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
func (w *world) finishStatus(s *slot, work *invocation) {
	if !work.end.killed && work.end.failed == "" {
		if work.forget && work.event.deployment != nil {
			w.events = append(w.events, &notification{deployment: work.event.deployment, state: work.event.state})
		}
		return
	}
	w.tracef("%s: invocation %d failed: %s", s.name, work.number, work.end.failed)
	if !work.injured {
		w.violate("the status function failed without a cause: %s", work.end.failed)
	}
	switch {
	case work.event.deployment == nil:
	case work.event.tries == 3:
		w.dead = append(w.dead, work.event)
	default:
		w.aws.Clock.After(time.Duration(work.event.tries)*time.Minute, func() { w.events = append(w.events, work.event) })
	}
}

// dismiss ends all functions.
func (w *world) dismiss() {
	for _, s := range slices.Concat(w.triggers, w.statuses) {
		if s.function != nil {
			s.function.end()
		}
	}
	synctest.Wait()
}

func (w *world) tracef(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf("%12s  ", w.now().Sub(w.began).Round(time.Millisecond))+fmt.Sprintf(format, args...))
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
