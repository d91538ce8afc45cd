package main

import (
	"archive/zip"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"gitlab-codedeploy/internal/gobuild"
)

// benchSizes builds each function under lambda/ as it is deployed.
func benchSizes(ctx context.Context, options Options, report *Report) error {
	sources, err := filepath.Glob(filepath.Join(options.Root, "lambda", "*", "main.go"))
	if err != nil || len(sources) == 0 {
		return fmt.Errorf("no function under %s/lambda (%v)", options.Root, err)
	}
	for _, source := range sources {
		if err := ctx.Err(); err != nil {
			return err
		}
		name := filepath.Base(filepath.Dir(source))
		options.logf("building %s for %s", name, options.GOARCH)
		binary := filepath.Join(options.Work, name+"-"+options.GOARCH, "bootstrap")
		if err := gobuild.Build(options.Root, "./lambda/"+name, binary, "linux", options.GOARCH); err != nil {
			return err
		}
		size, zipped, err := sizes(binary)
		if err != nil {
			return err
		}
		report.Rows = append(report.Rows,
			Row{Name: name + ": program for " + options.GOARCH, Unit: Megabytes, Series: Series{Ours: []float64{size}}, Target: &Target{Most: 10e6}},
			Row{Name: name + ": the same, zipped", Unit: Megabytes, Series: Series{Ours: []float64{zipped}}})
	}
	return nil
}

// sizes are a file's own, and that in a zip archive, which is what Lambda gets.
func sizes(file string) (size, zipped float64, err error) {
	in, err := os.Open(file)
	if err != nil {
		return 0, 0, err
	}
	defer in.Close()
	var counter countingWriter
	archive := zip.NewWriter(&counter)
	entry, err := archive.Create("bootstrap")
	if err != nil {
		return 0, 0, err
	}
	n, err := io.Copy(entry, in)
	if err != nil {
		return 0, 0, err
	}
	err = archive.Close()
	return float64(n), float64(counter), err
}

type countingWriter int64

func (c *countingWriter) Write(p []byte) (int, error) {
	*c += countingWriter(len(p))
	return len(p), nil
}
