package faults

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"gitlab-codedeploy/internal/trust"
	"gitlab-codedeploy/test/faults/cloud"
)

const (
	bucketName     = "example-deploy-faults"
	artifactPrefix = "artifacts/"
	statusPrefix   = "deployments/"
)

// The deployment groups of every run. The functions get one allow-list for all.
var (
	goodGroups    = append(pairs("alpha", "beta"), cloud.Pair{Application: "alpha", Group: "alpha-canary"})
	loadGroups    = pairs(numbered("load", 50)...)
	inPlaceGroup  = cloud.Pair{Application: "inplace", Group: "inplace-group"}
	missingGroup  = cloud.Pair{Application: "alpha", Group: "missing-group"}
	missingApp    = cloud.Pair{Application: "missing", Group: "missing-group"}
	unlistedGroup = cloud.Pair{Application: "secret", Group: "secret-group"} // exists, and is blue/green
	crossedGroup  = cloud.Pair{Application: "alpha", Group: "beta-group"}    // each half is on the list
)

func pairs(applications ...string) []cloud.Pair {
	var list []cloud.Pair
	for _, name := range applications {
		list = append(list, cloud.Pair{Application: name, Group: name + "-group"})
	}
	return list
}

func numbered(name string, n int) []string {
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("%s%02d", name, i))
	}
	return names
}

func allowList() []byte {
	type entry struct {
		Application     string `json:"application"`
		DeploymentGroup string `json:"deploymentGroup"`
		trust.Rule
	}
	var list []entry
	for _, p := range slices.Concat(goodGroups, loadGroups, []cloud.Pair{inPlaceGroup, missingGroup, missingApp}) {
		rule := trust.Rule{AnyProject: true}
		if proves(p) {
			rule = trust.Rule{Projects: []trust.Project{alphaProject}, Refs: []string{"main"}}
		}
		list = append(list, entry{p.Application, p.Group, rule})
	}
	text, err := json.Marshal(list)
	if err != nil {
		panic(err)
	}
	return text
}

// schedule is all that is decided before a run. It prints as it is.
type schedule struct {
	Seed     uint64
	Pollers  int // trigger processes that take batches at the same time
	Batch    int // messages at most in a batch
	Receives int // of a message, then it is a dead letter
	PageSize int // of ListDeployments
	Lag      time.Duration
	Skew     time.Duration
	Soon     time.Duration // until half of CodeDeploy's events come, at most
	Late     time.Duration // until the others do
	RollBack []bool        // by good group
	Uploads  []upload
	Foreign  []foreign
	Orders   []ordered
	Noise    []noise
	Faults   []fault

	AutoScaling  []autoScaling
	Throttled    []span            // when Lambda takes no invocation of the trigger
	Brownouts    map[string][]span // of services: "s3", "codedeploy", "sqs"
	Lost         int               // of a hundred of CodeDeploy's events
	Latency      time.Duration     // of each call, besides a few milliseconds
	AccountLimit int               // of active deployments; 0 is none
	Operator     bool              // somebody redrives dead letters
}

// span is a time since the beginning.
type span struct{ From, To time.Duration }

// autoScaling is Auto Scaling that equips instances: deployments beside others.
type autoScaling struct {
	At, Pause time.Duration
	Pair      cloud.Pair
	Count     int
	Lasts     time.Duration
}

// upload is one object put into the bucket, and what becomes of it.
type upload struct {
	At       time.Duration
	Key      string
	Pair     cloud.Pair
	Invalid  string // "" or what is wrong with it
	Metadata map[string]string
	Events   []s3Event // at least one
	Gone     string    `json:",omitempty"` // "", "deleted" (a marker) or "removed" (for good)
	GoneAt   time.Duration
	Course   cloud.Course

	Token   string        // its kind
	TokenOf int           // number of the upload from 1 whose token it is, for usedToken
	SwapAt  time.Duration // after the upload, when its token is put or replaced
}

// s3Event is one of the messages that S3 sends about an upload.
type s3Event struct {
	Late  time.Duration
	Twice bool `json:",omitempty"` // handed out twice by the queue
	Bad   bool `json:",omitempty"` // shares its message with a record that cannot be decoded
}

// foreign is somebody else's deployment in one of the groups.
type foreign struct {
	At          time.Duration
	Pair        cloud.Pair
	Lasts       time.Duration
	Upload      int    // number of an upload from 1 that is deployed, 0 for something else
	Description string // what its author says
	Outcome     string // "" is "Succeeded"
}

// noise is a message that is about no upload.
type noise struct {
	At   time.Duration
	Body string
}

// fault happens at a call of an invocation, both counted from 1. Times is for
// how many calls of the same operation in that invocation.
type fault struct {
	Function   string
	Invocation int
	Call       int
	Kind       kind
	Times      int
}

func (f fault) String() string {
	return fmt.Sprintf("%s at call %d of %s's invocation %d, %d time(s)", f.Kind, f.Call, f.Function, f.Invocation, f.Times)
}

// kind is what goes wrong. Whether AWS did what it was asked to is the
// difference that a client cannot see.
type kind string

const (
	killBefore  kind = "killed before the call has an effect"
	killAfter   kind = "killed after the effect"
	resetBefore kind = "connection reset before the effect"
	resetAfter  kind = "connection reset after the effect"
	slowBefore  kind = "no answer, no effect"
	slowAfter   kind = "no answer after the effect"
	errorBefore kind = "500 without an effect"
	errorAfter  kind = "500 after the effect"
	throttled   kind = "throttled"
	denied      kind = "access denied"
	busy        kind = "DeploymentLimitExceededException" // CreateDeployment only
	conflict    kind = "409 ConditionalRequestConflict"   // PutObject only
	delayed     kind = "no answer, the effect comes seconds later"
	stalled     kind = "answered with what is no longer true"  // ListDeployments only
	undeleted   kind = "messages not deleted after the answer" // between the function and the queue
)

var kinds = []kind{
	killBefore, killAfter, resetBefore, resetAfter, slowBefore, slowAfter,
	errorBefore, errorAfter, throttled, denied, busy, conflict, undeleted,
}

// generate makes the schedule of a seed.
func generate(seed uint64) schedule {
	r := rand.New(rand.NewPCG(seed, 1))
	s := schedule{
		Seed:     seed,
		Pollers:  1 + r.IntN(3),
		Batch:    1 + r.IntN(10),
		Receives: 970,
		PageSize: pick(r, 1, 2, 100),
		Lag:      pick(r, 0, 0, time.Duration(r.IntN(8000))*time.Millisecond, time.Duration(r.IntN(60))*time.Second),
		Skew:     time.Duration(r.IntN(2000)-1000) * time.Millisecond,
		Soon:     2 * time.Second,
		Late:     pick(r, time.Minute, time.Hour),
		Lost:     pick(r, 0, 0, 20, 100),
		Operator: r.IntN(2) == 0,
	}
	if r.IntN(4) == 0 {
		s.Receives = 2 + r.IntN(5)
	}
	for range goodGroups {
		s.RollBack = append(s.RollBack, r.IntN(3) == 0)
	}
	groups := goodGroups[:1+r.IntN(len(goodGroups))]
	at := time.Duration(0)
	for i := range 2 + r.IntN(8) {
		if r.IntN(3) == 0 {
			at += time.Duration(r.IntN(1200)) * time.Second
		} else {
			at += time.Duration(r.IntN(3000)) * time.Millisecond
		}
		u := generateUpload(r, s, i, at, groups)
		generateToken(r, &u, s.Uploads)
		s.Uploads = append(s.Uploads, u)
		if r.IntN(8) == 0 {
			f := foreign{At: at + jitter(r, time.Minute), Pair: pick(r, groups...), Lasts: lasts(r), Description: pick(r, "", "by hand", "upload-id=x uploaded=2099-01-01T00:00:00.000Z")}
			if r.IntN(3) > 0 {
				f.Upload, f.Pair = i+1, s.Uploads[i].Pair
				if s.Uploads[i].Invalid != "" {
					f.Upload = 0
					f.Pair = groups[0]
				}
			}
			f.Outcome = pick(r, "Succeeded", "Succeeded", "Failed", "Stopped")
			s.Foreign = append(s.Foreign, f)
		}
		if r.IntN(20) == 0 {
			s.AutoScaling = append(s.AutoScaling, autoScaling{At: at, Pause: time.Second, Pair: pick(r, groups...), Count: 1 + r.IntN(40), Lasts: lasts(r)})
		}
		if r.IntN(8) == 0 {
			s.Noise = append(s.Noise, noise{at + jitter(r, time.Minute), pick(r, noiseBodies...)})
		}
	}
	for range r.IntN(6) {
		f := fault{Function: "trigger", Invocation: 1 + r.IntN(10), Call: 1 + r.IntN(10), Kind: pick(r, kinds...), Times: pick(r, 1, 1, 3, 5)}
		if r.IntN(4) == 0 {
			f.Function = "status"
		}
		s.Faults = append(s.Faults, f)
	}
	if r.IntN(8) == 0 {
		s.AccountLimit = 1 + r.IntN(2)
	}
	if r.IntN(6) == 0 {
		from := jitter(r, at+time.Minute)
		s.Throttled = []span{{from, from + jitter(r, 20*time.Minute)}}
	}
	s.Brownouts = map[string][]span{}
	for _, service := range []string{"s3", "codedeploy", "sqs"} {
		if r.IntN(6) == 0 {
			from := jitter(r, at+time.Minute)
			s.Brownouts[service] = []span{{from, from + jitter(r, 10*time.Minute)}}
		}
	}
	return s
}

// lasts is how long a deployment takes: some end before anybody has looked.
func lasts(r *rand.Rand) time.Duration {
	switch r.IntN(40) {
	case 0:
		return jitter(r, 96*time.Hour)
	case 1, 2, 3:
		return time.Hour + jitter(r, time.Hour)
	case 4, 5, 6, 7, 8:
		return 0
	case 9, 10, 11:
		return jitter(r, time.Second)
	}
	return jitter(r, pick(r, time.Minute, 15*time.Minute))
}

func generateUpload(r *rand.Rand, s schedule, i int, at time.Duration, groups []cloud.Pair) upload {
	u := upload{At: at, Pair: pick(r, groups...)}
	u.Key = artifactPrefix + u.Pair.Application + "/" + pick(r, "artifact.gz", "artifact.gz", "artifact.gz", "b + ü.zip", "c%2F.tar.gz")
	u.Metadata = map[string]string{}
	switch r.IntN(18) {
	case 0:
		u.Invalid, u.Pair = "not on the list", pick(r, unlistedGroup, crossedGroup)
	case 1:
		u.Invalid, u.Pair = "not blue/green", inPlaceGroup
	case 2:
		u.Invalid, u.Pair = "no such group", pick(r, missingGroup, missingApp)
	case 3:
		u.Invalid, u.Key = "no bundle", artifactPrefix+u.Pair.Application+"/artifact.rpm"
	case 4:
		u.Invalid, u.Metadata["bundle-type"] = "no bundle", "rar"
	case 5:
		u.Invalid = "half the metadata"
	case 6, 7:
		u.Invalid, u.Key = "not in its application's folder", artifactPrefix+pick(r, "artifact.gz", "load00/artifact.gz", u.Pair.Application+"s/artifact.gz")
	}
	prefix := pick(r, "", "", "x-amz-meta-")
	u.Metadata[prefix+"application-name"] = u.Pair.Application
	if u.Invalid != "half the metadata" {
		u.Metadata[prefix+"deploymentgroup-name"] = u.Pair.Group
	}
	switch id := fmt.Sprintf("upload-%d", i); r.IntN(12) {
	case 0: // none
	case 1:
		u.Metadata["upload-id"] = pick(r, "../../artifacts/x", "a/b", "a.b", strings.Repeat("x", 65), "%2e%2e", "a b")
	case 2:
		u.Metadata["upload-id"] = fmt.Sprintf("upload-%d", r.IntN(i+1)) // maybe somebody else's
	default:
		u.Metadata["upload-id"] = id
	}
	if r.IntN(6) == 0 {
		u.Metadata["pipeline-url"] = "https://x/uploaded=2099-01-01T00:00:00.000Z"
	}
	u.Events = []s3Event{{Late: jitter(r, time.Second), Twice: r.IntN(6) == 0, Bad: r.IntN(12) == 0}}
	if r.IntN(6) == 0 {
		u.Events[0].Late = jitter(r, 10*time.Minute)
	}
	for r.IntN(4) == 0 {
		u.Events = append(u.Events, s3Event{Late: jitter(r, pick(r, time.Second, 10*time.Minute)), Twice: r.IntN(6) == 0})
	}
	switch r.IntN(20) {
	case 0:
		u.Gone, u.GoneAt = "deleted", jitter(r, 2*time.Minute)
	case 1:
		u.Gone, u.GoneAt = "removed", jitter(r, 2*time.Minute)
	}
	u.Course = cloud.Course{Lasts: lasts(r), Outcome: "Succeeded"}
	if r.IntN(4) == 0 {
		u.Course.Outcome = pick(r, "Failed", "Stopped")
	}
	return u
}

const badRecord = `{"eventName":"ObjectCreated:Put","s3":{"bucket":{"name":"` + bucketName + `"},"object":{"key":"artifacts/%zz.zip","versionId":"v"}}}`

var noiseBodies = []string{
	`{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"` + bucketName + `"}`,
	`{"Records":[` + badRecord + `]}`,
	`{"Records":[{"eventName":"ObjectCreated:Put","s3":{"bucket":{"name":"` + bucketName + `"},"object":{"key":"deployments/x.json","versionId":"v"}}}]}`,
	`{"Records":[{"eventName":"ObjectCreated:Put","s3":{"bucket":{"name":"another-bucket"},"object":{"key":"artifacts/x.zip","versionId":"v"}}}]}`,
	`{"Records":[{"eventName":"ObjectRemoved:Delete","s3":{"bucket":{"name":"` + bucketName + `"},"object":{"key":"artifacts/x.zip"}}}]}`,
	`{"Records":[{"eventName":"ObjectCreated:Put","s3":{"bucket":{"name":"` + bucketName + `"},"object":{"key":"artifacts/never-was.zip","versionId":"../../x"}}}]}`,
	`{"Records":null}`,
	`no JSON`,
}

func pick[T any](r *rand.Rand, choices ...T) T { return choices[r.IntN(len(choices))] }

func jitter(r *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(r.Int64N(int64(most)))
}

// describe is the schedule for people: one line a thing.
func (s schedule) describe() string {
	var b strings.Builder
	uploads, foreigns, noises, faults := s.Uploads, s.Foreign, s.Noise, s.Faults
	s.Uploads, s.Foreign, s.Noise, s.Faults = nil, nil, nil, nil
	fmt.Fprintf(&b, "schedule %s\n", line(s))
	for i, u := range uploads {
		fmt.Fprintf(&b, "  upload %d: %s\n", i, line(u))
	}
	for _, f := range foreigns {
		fmt.Fprintf(&b, "  foreign deployment: %s\n", line(f))
	}
	for _, n := range noises {
		fmt.Fprintf(&b, "  noise: %s\n", line(n))
	}
	for _, f := range faults {
		fmt.Fprintf(&b, "  fault: %s\n", f)
	}
	return b.String()
}

func line(v any) string { return fmt.Sprintf("%+v", v) }
