package faults

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab-codedeploy/internal/order"
	"gitlab-codedeploy/test/faults/cloud"
)

// ordered is an operator's order, at a time.
type ordered struct {
	At     time.Duration
	Kind   string
	Pair   cloud.Pair
	Upload int    // number of the upload from 1 whose artifact is deployed
	From   string // the group that it is promoted from
	Events []s3Event
}

// placedOrder is one that S3 has.
type placedOrder struct {
	ordered
	number   int
	version  *cloud.Version
	id       string
	accepted bool // by its group's record, at some time
}

func (o *placedOrder) String() string { return fmt.Sprintf("order %d (%s)", o.number, o.Kind) }

// order writes what an operator wants, as his program does.
func (w *world) order(number int, o ordered) {
	wanted := order.Order{Kind: o.Kind, Application: o.Pair.Application, DeploymentGroup: o.Pair.Group, From: o.From}
	p := &placedOrder{ordered: o, number: number}
	if wanted.Deploys() {
		if o.Upload > len(w.uploads) {
			return
		}
		u := w.uploads[o.Upload-1]
		wanted.Key, wanted.VersionID = u.Key, u.version.ID
	}
	text, err := json.Marshal(wanted)
	if err != nil {
		panic(err)
	}
	p.version = w.aws.Bucket.Put(order.Key(wanted, w.now(), []byte{byte(number)}), nil, text)
	p.id = order.ID(p.version.Key, p.version.ID)
	w.orders = append(w.orders, p)
	w.tracef("%s for %s of upload %d: %s", p, o.Pair, o.Upload-1, p.id)
	body := w.aws.Bucket.Event(p.version)
	for _, e := range o.Events {
		w.aws.Clock.After(e.Late, func() {
			m := w.aws.Queue.Send(body, e.Twice)
			w.ordersBy[m] = p
			w.tracef("%s is an event of %s", m.ID, p)
		})
	}
}

// orderOf is the order that a deployment is of, nil if it is of none.
func (w *world) orderOf(d *cloud.Deployment) *placedOrder {
	if d.ByHand {
		return nil
	}
	for _, o := range w.orders {
		if strings.Contains(d.Description, "upload-id="+o.id+" ") {
			return o
		}
	}
	return nil
}

// orderDeployed checks that a deployment of an order may be.
func (w *world) orderDeployed(o *placedOrder, d *cloud.Deployment, u *placed) {
	w.tracef("%s is of %s", d.ID, o)
	source := o.Pair
	if o.Kind == order.Promote {
		source.Group = o.From
	}
	switch {
	case o.Kind != order.Rollback && o.Kind != order.Promote:
		w.violate("%s deploys", o)
	case d.Pair != o.Pair:
		w.violate("%s is for %s and was deployed to %s", o, o.Pair, d.Pair)
	case u != w.uploads[o.Upload-1]:
		w.violate("%s deploys %s", o, u)
	case d.Object.ETag != strings.Trim(u.version.ETag, `"`):
		w.violate("%s deploys %s with the ETag of another one", o, u)
	case !strings.Contains(d.Description, " by="+cloud.Principal):
		w.violate("%s does not say who it was: %s", d.ID, d.Description)
	case !slices.ContainsFunc(w.aws.Deployments.Of(source), func(before *cloud.Deployment) bool {
		return before != d && w.uploadOf(before) == u && before.Status == "Succeeded"
	}):
		w.violate("%s deploys %s, which has never succeeded in %s", o, u, source)
	}
	for _, earlier := range w.aws.Deployments.Of(d.Pair) {
		other := w.uploadOf(earlier)
		if earlier == d || other == nil || earlier.Creator != "user" || !w.listed(earlier) {
			continue
		}
		before := w.orderOf(earlier)
		switch {
		case before == o:
			w.violate("%s was deployed twice, by %s and %s", o, earlier.ID, d.ID)
		case before != nil && before.version.Modified.After(o.version.Modified):
			w.violate("%s was deployed after %s, which is newer", o, before)
		case before == nil && place(earlier, other).UnixMilli() > o.version.Modified.UnixMilli():
			w.violate("%s was deployed after %s, which is newer", o, other)
		}
	}
}

// orderTold keeps the state of an order.
func (w *world) orderTold(s statusObject) { w.orderStates[s.UploadID] = s }

// ordersQuiet says whether every order has its end.
func (w *world) ordersQuiet() bool {
	for _, o := range w.schedule.Orders {
		if w.now().Sub(w.began) < o.At+time.Minute {
			return false
		}
	}
	return !slices.ContainsFunc(w.orders, func(o *placedOrder) bool { return rank[w.orderStates[o.id].State] != final })
}

// waitsForResume says whether an upload waits in its group's record until that is
// resumed, and its job is told so.
func (w *world) waitsForResume(u *placed) bool {
	found := w.statusesOf(u)
	return w.parked[u.Pair] == u.version.ID && len(found) == 1 && found[0].State == "Waiting" &&
		strings.Contains(found[0].Reason, "the group is paused by "+cloud.Principal+" since ")
}

// judgeOrder: each order has a final state, and that is true.
func (w *world) judgeOrder(o *placedOrder) {
	s, told := w.orderStates[o.id]
	var own *cloud.Deployment
	for _, d := range w.aws.Deployments.Of(o.Pair) {
		if w.orderOf(d) == o {
			own = d
		}
	}
	dead := slices.ContainsFunc(w.aws.Queue.Dead(), func(m *cloud.Message) bool { return w.ordersBy[m] == o })
	switch {
	case !told && dead:
	case !told || rank[s.State] != final:
		w.violate("%s ended as %+v", o, s)
	case s.Order.Kind != o.Kind && s.State != "Rejected", s.Order.Operator != cloud.Principal && s.State != "Rejected":
		w.violate("the state of %s does not say what it was and whose: %+v", o, s)
	case own != nil && (s.DeploymentID != own.ID || s.State != own.Status):
		w.violate("%s was deployed by %s, which ended as %s, but its state says %+v", o, own.ID, own.Status, s)
	case own == nil && s.DeploymentID != "":
		w.violate("%s was not deployed by what its state says: %+v", o, s)
	case own == nil && (o.Kind == order.Rollback || o.Kind == order.Promote) && s.State == "Succeeded":
		w.violate("%s was not deployed, but its state says %+v", o, s)
	}
}

// at lets orders of the same kind differ in their time only.
func orderAt(at time.Duration, kind string, upload int) ordered {
	return ordered{At: at, Kind: kind, Pair: goodGroups[0], Upload: upload, Events: make([]s3Event, 1)}
}

// What an operator orders goes the way of an upload.
//
//fault:operator a version is rolled back, and the event of the one from before comes late and twice | it stays rolled back
//fault:operator a version is rolled back, and then something is pushed | what was pushed is deployed
//fault:operator a rollback comes while the version that it is from is being deployed | it waits, and is deployed then
//fault:operator the event of a rollback comes twice, and late | it is deployed once
//fault:operator a rollback asks for a version that has never succeeded | it is rejected
//fault:operator a version is promoted to another group of its application | the very same version is deployed there
//fault:operator a group is paused, and three are pushed | they wait without a message, and the newest is deployed when it is resumed
//fault:operator a group is paused after a process died before the creation, and something newer is pushed | that is deployed when it is resumed
//fault:operator a group is paused for longer than a message can wait | nothing is lost, and no message is a dead letter
//fault:operator a pause comes after the resumption that was ordered later | it changes nothing
//fault:operator a paused group is rolled back while an upload waits | the order is deployed, and the upload is superseded
//fault:operator an upload comes while an order waits for a paused and busy group | the order is deployed, the upload waits
func TestS15_AnOperatorsOrderGoesTheWayOfAnUpload(t *testing.T) {
	t.Parallel()
	const minute = time.Minute
	uploads := func(at ...time.Duration) (list []upload) {
		for i, a := range at {
			u := simpleUpload(i, "artifacts/alpha/artifact.gz")
			u.At = a
			list = append(list, u)
		}
		return list
	}
	for name, tt := range map[string]struct {
		uploads []upload
		orders  []ordered
		change  func(*schedule)
		want    []string // what was deployed to the group: uploads by number, orders with o
		states  []string // of uploads
		orderSt []string
		other   []string // deployed to the application's other group
	}{
		"rolled back, and late events of the one from before": {
			uploads: uploads(minute, 10*minute), orders: []ordered{orderAt(20*minute, "rollback", 1)},
			change: func(s *schedule) { s.Uploads[1].Events = []s3Event{{}, {Late: 25 * minute, Twice: true}} },
			want:   []string{"0", "1", "o0"}, states: []string{"Succeeded", "Succeeded"}, orderSt: []string{"Succeeded"},
		},
		"rolled back, and the late event of one that nobody has seen": {
			uploads: uploads(minute, 10*minute, 11*minute), orders: []ordered{orderAt(20*minute, "rollback", 1)},
			change: func(s *schedule) { s.Uploads[2].Events[0].Late = 30 * minute },
			want:   []string{"0", "1", "o0"}, states: []string{"Succeeded", "Succeeded", "Superseded"}, orderSt: []string{"Succeeded"},
		},
		"a push after it": {
			uploads: uploads(minute, 10*minute, 30*minute), orders: []ordered{orderAt(20*minute, "rollback", 1)},
			want: []string{"0", "1", "o0", "2"}, states: []string{"Succeeded", "Succeeded", "Succeeded"}, orderSt: []string{"Succeeded"},
		},
		"while the other is being deployed": {
			uploads: uploads(minute, 10*minute), orders: []ordered{orderAt(11*minute, "rollback", 1)},
			change: func(s *schedule) { s.Uploads[1].Course.Lasts = 40 * minute },
			want:   []string{"0", "1", "o0"}, states: []string{"Succeeded", "Succeeded"}, orderSt: []string{"Succeeded"},
		},
		"its event twice, and late": {
			uploads: uploads(minute, 10*minute), orders: []ordered{func() ordered {
				o := orderAt(20*minute, "rollback", 1)
				o.Events = []s3Event{{Twice: true}, {Late: time.Hour}}
				return o
			}()},
			want: []string{"0", "1", "o0"}, states: []string{"Succeeded", "Succeeded"}, orderSt: []string{"Succeeded"},
		},
		"back, and forth again": {
			uploads: uploads(minute, 10*minute), orders: []ordered{orderAt(20*minute, "rollback", 1), orderAt(30*minute, "rollback", 2), orderAt(40*minute, "rollback", 1)},
			want: []string{"0", "1", "o0", "o1", "o2"}, states: []string{"Succeeded", "Succeeded"}, orderSt: []string{"Succeeded", "Succeeded", "Succeeded"},
		},
		"never succeeded": {
			uploads: uploads(minute, 10*minute), orders: []ordered{orderAt(20*minute, "rollback", 1)},
			change: func(s *schedule) { s.Uploads[0].Course.Outcome = "Failed" },
			want:   []string{"0", "1"}, states: []string{"Failed", "Succeeded"}, orderSt: []string{"Rejected"},
		},
		"promoted": {
			uploads: uploads(minute), orders: []ordered{func() ordered {
				o := orderAt(20*minute, "promote", 1)
				o.Pair, o.From = goodGroups[2], goodGroups[0].Group
				return o
			}()},
			want: []string{"0"}, other: []string{"o0"}, states: []string{"Succeeded"}, orderSt: []string{"Succeeded"},
		},
		"promoted before it has succeeded": {
			uploads: uploads(minute), orders: []ordered{func() ordered {
				o := orderAt(2*minute, "promote", 1)
				o.Pair, o.From = goodGroups[2], goodGroups[0].Group
				return o
			}()},
			change: func(s *schedule) { s.Uploads[0].Course.Lasts = time.Hour },
			want:   []string{"0"}, states: []string{"Succeeded"}, orderSt: []string{"Rejected"},
		},
		"paused, three pushes, resumed": {
			uploads: uploads(minute, 20*minute, 21*minute, 22*minute), orders: []ordered{orderAt(10*minute, "pause", 0), orderAt(2*time.Hour, "resume", 0)},
			want: []string{"0", "3"}, states: []string{"Succeeded", "Superseded", "Superseded", "Succeeded"}, orderSt: []string{"Succeeded", "Succeeded"},
		},
		"paused after a process died before the creation": {
			uploads: uploads(minute, 20*minute), orders: []ordered{orderAt(2*minute, "pause", 0), orderAt(2*time.Hour, "resume", 0)},
			change: func(s *schedule) {
				s.Faults = []fault{{Function: "trigger", Invocation: 1, Call: 7, Kind: killBefore, Times: 1}}
			},
			want: []string{"1"}, states: []string{"Superseded", "Succeeded"}, orderSt: []string{"Succeeded", "Succeeded"},
		},
		"paused for three weeks": {
			uploads: uploads(minute, 20*minute), orders: []ordered{orderAt(10*minute, "pause", 0), orderAt(21*24*time.Hour, "resume", 0)},
			change: func(s *schedule) { s.Receives, s.Operator = 5, false },
			want:   []string{"0", "1"}, states: []string{"Succeeded", "Succeeded"}, orderSt: []string{"Succeeded", "Succeeded"},
		},
		"paused, and never resumed": {
			uploads: uploads(minute, 20*minute), orders: []ordered{orderAt(10*minute, "pause", 0)},
			want: []string{"0"}, states: []string{"Succeeded", "Waiting"}, orderSt: []string{"Succeeded"},
		},
		"a pause that comes late": {
			uploads: uploads(minute, 40*minute), orders: []ordered{func() ordered {
				o := orderAt(10*minute, "pause", 0)
				o.Events[0].Late = 20 * minute
				return o
			}(), orderAt(11*minute, "resume", 0)},
			want: []string{"0", "1"}, states: []string{"Succeeded", "Succeeded"}, orderSt: []string{"Superseded", "Succeeded"},
		},
		"a paused group is rolled back": {
			uploads: uploads(minute, 10*minute, 20*minute), orders: []ordered{orderAt(15*minute, "pause", 0), orderAt(30*minute, "rollback", 1), orderAt(40*minute, "resume", 0)},
			want: []string{"0", "1", "o1"}, states: []string{"Succeeded", "Succeeded", "Superseded"}, orderSt: []string{"Succeeded", "Succeeded", "Succeeded"},
		},
		"an upload comes while an order waits for a paused and busy group": {
			uploads: uploads(minute, 10*minute, 22*minute),
			orders:  []ordered{orderAt(15*minute, "pause", 0), orderAt(20*minute, "rollback", 1), orderAt(3*time.Hour, "resume", 0)},
			change:  func(s *schedule) { s.Uploads[1].Course.Lasts = time.Hour },
			want:    []string{"0", "1", "o1", "2"}, states: []string{"Succeeded", "Succeeded", "Succeeded"}, orderSt: []string{"Succeeded", "Succeeded", "Succeeded"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := one(1)
			s.Late, s.Soon = time.Minute, time.Second
			s.Uploads, s.Orders = tt.uploads, tt.orders
			if tt.change != nil {
				tt.change(&s)
			}
			w := play(t, s)
			require.Empty(t, w.violations, "%s", w.report())
			deployed := func(pair cloud.Pair) (list []string) {
				for _, d := range w.aws.Deployments.Of(pair) {
					if o := w.orderOf(d); o != nil {
						list = append(list, fmt.Sprint("o", o.number))
					} else if u := w.uploadOf(d); u != nil {
						list = append(list, fmt.Sprint(u.number))
					}
				}
				return list
			}
			assert.Equal(t, tt.want, deployed(goodGroups[0]), "%s", w.report())
			assert.Equal(t, tt.other, deployed(goodGroups[2]), "%s", w.report())
			var states, orderStates []string
			for _, u := range w.uploads {
				states = append(states, w.statusesOf(u)[0].State)
			}
			for _, o := range w.orders {
				orderStates = append(orderStates, w.orderStates[o.id].State)
			}
			assert.Equal(t, tt.states, states)
			assert.Equal(t, tt.orderSt, orderStates)
			assert.Empty(t, w.aws.Queue.Dead())
		})
	}
}

// Random schedules with orders of all kinds among uploads, faults and hands of others.
//
//fault:operator orders of all kinds among random uploads, faults, lost events and deployments by hand | the invariants hold: each order is carried out once at most, and nothing older follows it
func TestS15_RandomOrdersLoseNothingAndDeployNothingTwice(t *testing.T) {
	t.Parallel()
	seed := setting(t, "FAULTS_SEED", 0)
	n := setting(t, "FAULTS_SCHEDULES", 60)
	if seed == 0 {
		seed = int(rand.Uint32N(1 << 30))
	}
	t.Logf("seeds %d to %d", seed, seed+n-1)
	var schedules []schedule
	for i := range n {
		schedules = append(schedules, withOrders(generate(uint64(seed+i))))
	}
	reportFailed(t, schedules, playAll(t, schedules))
}

// withOrders adds orders to a schedule, and resumes what they pause.
func withOrders(s schedule) schedule {
	r := rand.New(rand.NewPCG(s.Seed, 5))
	last := time.Duration(0)
	for range 1 + r.IntN(6) {
		i := r.IntN(len(s.Uploads))
		u := s.Uploads[i]
		o := ordered{At: u.At + jitter(r, time.Hour), Pair: u.Pair, Kind: pick(r, "rollback", "rollback", "promote", "pause", "resume"), Events: []s3Event{{Late: jitter(r, time.Second), Twice: r.IntN(4) == 0}}}
		if r.IntN(4) == 0 {
			o.Events = append(o.Events, s3Event{Late: jitter(r, time.Hour)})
		}
		switch o.Kind {
		case "rollback":
			o.Upload = 1 + i
		case "promote":
			o.Upload, o.From = 1+i, u.Pair.Group
			o.Pair.Group = pick(r, goodGroups...).Group
			if o.Pair.Group == o.From {
				o.Kind, o.From = "rollback", ""
			}
		}
		last = max(last, o.At)
		s.Orders = append(s.Orders, o)
	}
	for _, pair := range append(slices.Clone(goodGroups), inPlaceGroup, missingGroup, missingApp) {
		s.Orders = append(s.Orders, ordered{At: last + 3*time.Hour, Pair: pair, Kind: "resume", Events: make([]s3Event, 1)})
	}
	slices.SortStableFunc(s.Orders, func(a, b ordered) int { return int(a.At - b.At) })
	return s
}
