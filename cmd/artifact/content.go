package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"gitlab-codedeploy/internal/appspec"
	"gitlab-codedeploy/internal/bundle"
	"gitlab-codedeploy/internal/plain"
	"gitlab-codedeploy/internal/upload"
)

// content is what an artifact is made of.
type content struct {
	form  upload.Form
	what  string // for people
	size  int64  // of what is read; the artifact is smaller
	write func(ctx context.Context, w io.Writer, progress func(int64)) error
}

// prepare checks a folder as CodeDeploy would, and settles what of it is sent.
func (p program) prepare(o options) (content, error) {
	root, err := folder(o.source)
	if err != nil {
		return content{}, err
	}
	tree, err := bundle.Scan(root, bundle.Options{Exclude: o.excludes, Time: p.commitTime()})
	if err != nil {
		return content{}, contentError{err}
	}
	result, err := appspec.Check(root, tree.Excluded)
	if err != nil {
		return content{}, contentError{err}
	}
	if err := p.judge(o, result); err != nil {
		return content{}, err
	}
	if result.Platform == appspec.Server {
		return content{
			form: upload.Archive, size: tree.Size(), write: tree.Write,
			what: fmt.Sprintf("%d files of %s, %d bytes", tree.Files(), plain.Line(o.source, 200), tree.Size()),
		}, nil
	}
	return single(filepath.Join(root, result.File), string(result.Platform))
}

// judge tells what is wrong with an AppSpec file, all of it at once.
func (p program) judge(o options, result appspec.Result) error {
	bad := 0
	for _, problem := range result.Problems {
		if problem.Warning && !o.strict {
			p.log("%s", plain.Line(problem.String(), 1000))
			continue
		}
		bad++
		p.log("error: %s", plain.Line(problem.String(), 1000))
	}
	if bad > 0 || result.Platform == "" {
		return contentError{fmt.Errorf("%s is not right", plain.Line(filepath.Join(o.source, cmp.Or(result.File, "appspec.yml")), 200))}
	}
	return nil
}

// commitTime is the time that all files get: that of the job's commit, so that
// each job of the commit makes the same artifact. Zero means a fixed one.
func (p program) commitTime() time.Time {
	at, err := time.Parse(time.RFC3339, p.getenv("CI_COMMIT_TIMESTAMP"))
	if err != nil {
		return time.Time{}
	}
	return at.Truncate(time.Second)
}

// folder returns the real path of the folder to pack.
func folder(source string) (string, error) {
	shown := plain.Line(source, 200)
	info, err := os.Stat(source)
	if err != nil || !info.IsDir() {
		here, _ := os.Getwd()
		return "", usageError{fmt.Errorf("source: there is no folder '%s' in %s", shown, here)}
	}
	root, err := filepath.Abs(source)
	if err == nil {
		root, err = filepath.EvalSymlinks(root)
	}
	if err != nil {
		return "", usageError{fmt.Errorf("source: cannot enter '%s': %w", shown, err)}
	}
	if root == "/" {
		return "", usageError{errors.New("source: / is not a folder to deploy")}
	}
	return root, nil
}

// single is an artifact of one file: the AppSpec file alone, which names
// everything else by itself.
// https://docs.aws.amazon.com/codedeploy/latest/userguide/application-revisions-push.html
func single(file, platform string) (content, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return content{}, contentError{err}
	}
	form := upload.YAML
	if filepath.Ext(file) == ".json" {
		form = upload.JSON
	}
	return content{
		form: form, size: int64(len(text)), what: filepath.Base(file) + ", which is for " + platform,
		write: func(_ context.Context, w io.Writer, progress func(int64)) error {
			n, err := w.Write(text)
			progress(int64(n))
			return err
		},
	}, nil
}
