package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"gitlab-codedeploy/internal/gobuild"
)

// purposes says what each call of the trigger is good for.
var purposes = map[string]string{
	"HeadObject":         "which group the artifact is for, and when it was uploaded; cannot be left out",
	"GetDeploymentGroup": "refuses a group that is not blue/green before an artifact overwrites running instances; believed for 5 minutes",
	"PutObject":          "1st: the attempt, which keeps everybody else out of the group; 2nd: the upload's id is its own, and its job knows; 3rd: the job and the next upload learn the deployment's id",
	"GetObject":          "1st: the group's record, who was accepted, and who deploys; 2nd: the job's token, whether this project and ref may deploy",
	"ListDeployments":    "what somebody deployed by hand, and what came of an attempt whose answer was lost",
	"CreateDeployment":   "the deployment; cannot be left out",
}

// sample is what one process shows of itself.
type sample struct {
	ready, first, warm time.Duration // warm is a median
	peak               float64       // bytes
	coldCalls          map[string]int
	warmCalls          map[string]int // of one invocation
}

func benchTrigger(ctx context.Context, options Options, report *Report) error {
	ours, reference, err := programs(options)
	if err != nil {
		return err
	}
	var ready, first, warm, peak, calls Series
	var last sample
	for n := range options.Uncounted + options.Pairs {
		options.logf("trigger: pair %d of %d", n+1-options.Uncounted, options.Pairs)
		a, err := observe(ctx, options, ours)
		if err != nil {
			return err
		}
		b, err := observe(ctx, options, reference)
		if err != nil {
			return err
		}
		if !maps.Equal(a.coldCalls, b.coldCalls) || !maps.Equal(a.warmCalls, b.warmCalls) {
			return fmt.Errorf("the reference does another job: it calls %v, then %v; ours %v, then %v", b.coldCalls, b.warmCalls, a.coldCalls, a.warmCalls)
		}
		if n < options.Uncounted {
			continue
		}
		ready.add(a.ready.Seconds(), b.ready.Seconds())
		first.add(a.first.Seconds(), b.first.Seconds())
		warm.add(a.warm.Seconds(), b.warm.Seconds())
		peak.add(a.peak, b.peak)
		calls.Ours = append(calls.Ours, total(a.warmCalls))
		last = a
	}
	report.Rows = append(report.Rows,
		Row{Name: "trigger: process start to ready", Unit: Seconds, Series: ready, Target: &Target{Times: 25}},
		Row{Name: "trigger: first invocation", Unit: Seconds, Series: first},
		Row{Name: "trigger: warm invocation", Unit: Seconds, Series: warm},
		Row{Name: "trigger: peak memory of ours", Unit: Megabytes, Series: peak, Target: &Target{Most: 20e6}},
		Row{Name: "trigger: calls per deployment, warm", Unit: Count, Series: calls, Target: &Target{Most: 8}})
	for _, operation := range slices.Sorted(maps.Keys(last.coldCalls)) {
		report.Calls = append(report.Calls, Call{operation, last.coldCalls[operation], last.warmCalls[operation], purposes[operation]})
	}
	report.Notes = append(report.Notes, fmt.Sprintf(
		"trigger: reference is the same job in Python with boto3 (test/bench/python), on the same host, against the same simulated AWS over TLS on loopback.\n"+
			"N processes of each, in turns; a process has one first and %d warm invocations, of which it gives the median.", options.Warm))
	return nil
}

func total(calls map[string]int) (sum float64) {
	for _, n := range calls {
		sum += float64(n)
	}
	return sum
}

// programs makes both functions ready to run.
func programs(options Options) (ours, reference program, err error) {
	ours = program{name: "trigger in Go", dir: filepath.Join(options.Work, "trigger-go")}
	reference = program{name: "trigger in Python", dir: filepath.Join(options.Work, "trigger-python")}

	binary := filepath.Join(ours.dir, "bootstrap")
	if err := gobuild.Build(options.Root, "./lambda/trigger", binary, runtime.GOOS, runtime.GOARCH); err != nil {
		return ours, reference, err
	}
	ours.args = []string{binary}

	// A copy, so that Python's compiled modules do not land in the repository.
	sources := filepath.Join(options.Root, "test", "bench", "python")
	if err := os.CopyFS(reference.dir, os.DirFS(sources)); err != nil {
		return ours, reference, err
	}
	reference.args = []string{python(options.Root), filepath.Join(reference.dir, "bootstrap.py")}

	list := fmt.Sprintf(`[{"application":%q,"deploymentGroup":%q,"projects":[{"id":%d,"path":%q}],"refs":[%q]}]`,
		pair.Application, pair.Group, job.Project.ID, job.Project.Path, job.Ref)
	for _, p := range []program{ours, reference} {
		for name, content := range map[string][]byte{"deployment-groups.json": []byte(list), "gitlab-keys.json": gitlab().Keys().Encode()} {
			if err := os.WriteFile(filepath.Join(p.dir, name), content, 0o600); err != nil {
				return ours, reference, err
			}
		}
	}
	return ours, reference, nil
}

// observe runs one process of a program through its life.
func observe(ctx context.Context, options Options, p program) (sample, error) {
	var s sample
	account := newAccount(options.Warm + 1)
	defer account.server.Close()
	certificates := filepath.Join(options.Work, "certificates.pem")
	if err := trust(account.server, certificates); err != nil {
		return s, err
	}
	p.env = environment(account.server.URL, certificates)
	f, ready, err := p.start(ctx, filepath.Join(options.Work, "function.log"))
	if err != nil {
		return s, err
	}
	defer f.stop()
	s.ready = ready

	if s.first, err = f.invoke(ctx, account.upload(0)); err != nil {
		return s, err
	}
	s.coldCalls = account.takeCalls()
	var times []float64
	for n := range options.Warm {
		account.settle()
		took, err := f.invoke(ctx, account.upload(n+1))
		if err != nil {
			return s, err
		}
		times = append(times, took.Seconds())
		calls := account.takeCalls()
		if n > 0 && !maps.Equal(calls, s.warmCalls) {
			return s, f.failure("called %v, and %v the next time", s.warmCalls, calls)
		}
		s.warmCalls = calls
	}
	s.warm = time.Duration(median(times) * float64(time.Second))
	if s.peak, err = f.peak(); err != nil {
		return s, err
	}
	if err := account.check(options.Warm + 1); err != nil {
		return s, f.failure("did not do its work: %v", err)
	}
	return s, nil
}

// environment is that of a deployed trigger, and where AWS is.
func environment(endpoint, certificates string) []string {
	return []string{
		"ARTIFACT_BUCKET=" + bucket,
		"ARTIFACT_PREFIX=artifacts/",
		"GITLAB_URL=" + gitlabURL,
		"QUEUE_URL=" + endpoint + "/222222222222/uploads",
		"AWS_LAMBDA_FUNCTION_NAME=trigger",
		"AWS_LAMBDA_FUNCTION_VERSION=$LATEST",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE=128",
		"AWS_LAMBDA_LOG_FORMAT=JSON",
		"_HANDLER=handler.handle",
		"AWS_REGION=" + region, "AWS_DEFAULT_REGION=" + region,
		"AWS_ACCESS_KEY_ID=AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY=secret", "AWS_SESSION_TOKEN=token",
		"AWS_ENDPOINT_URL=" + endpoint,
		"SSL_CERT_FILE=" + certificates, "AWS_CA_BUNDLE=" + certificates, // Go's and boto3's
	}
}
