package main

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
)

// What a folder to deploy consists of, in bytes: three fifths text, such as
// sources and pages, the rest archives and pictures that are compressed already.
const (
	textShare    = 0.6
	textFile     = 24_000
	binaryFile   = 1_000_000
	filesPerPath = 100
)

// makeFolder fills a folder with about size bytes and an AppSpec file. The same
// size gives the same content on every machine.
func makeFolder(root string, size int64) error {
	source := rand.NewChaCha8([32]byte([]byte("gitlab-codedeploy's bench folder")))
	random := rand.New(source)
	words := vocabulary(random)

	texts := int64(textShare * float64(size))
	for n := int64(0); n*textFile < texts; n++ {
		file := filepath.Join(root, "src", fmt.Sprintf("part-%03d", n/filesPerPath), fmt.Sprintf("file-%05d.txt", n))
		if err := writeFile(file, func(w *bufio.Writer) error { return writeText(w, random, words, textFile) }); err != nil {
			return err
		}
	}
	for n, left := 0, size-texts; left > 0; n, left = n+1, left-binaryFile {
		file := filepath.Join(root, "lib", fmt.Sprintf("archive-%04d.bin", n))
		if err := writeFile(file, func(w *bufio.Writer) error {
			_, err := io.CopyN(w, source, min(left, binaryFile))
			return err
		}); err != nil {
			return err
		}
	}
	return writeFile(filepath.Join(root, "appspec.yml"), func(w *bufio.Writer) error {
		_, err := w.WriteString("version: 0.0\nos: linux\nfiles:\n  - source: /\n    destination: /srv/sample\n")
		return err
	})
}

func writeFile(file string, write func(*bufio.Writer) error) error {
	f, err := create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	if err := write(w); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}

// vocabulary is made of names, as sources are.
func vocabulary(random *rand.Rand) []string {
	syllables := strings.Fields("con str get set de ploy ment ver sion ob ject buck et que ue re sult er ror han dle con fig par se val ue in dex map list for each")
	words := strings.Fields("{ } ( ) = == += ; , return if else for func var const import \"\" // nil true false")
	for len(words) < 3000 {
		word := ""
		for range 2 + random.IntN(3) {
			word += syllables[random.IntN(len(syllables))]
		}
		words = append(words, word)
	}
	return words
}

// writeText writes lines of words, of which the first ones are the frequent
// ones. One line in three is a repetition of an earlier one, a little changed.
// gzip makes about a quarter of it, as it does of sources.
func writeText(w *bufio.Writer, random *rand.Rand, words []string, size int) error {
	var lines [][]string
	for written := 0; written < size; {
		var line []string
		if len(lines) > 10 && random.IntN(3) == 0 {
			line = append(line, lines[random.IntN(len(lines))]...)
			line[random.IntN(len(line))] = words[random.IntN(len(words))]
		} else {
			for range 3 + random.IntN(9) {
				rank := random.Float64()
				line = append(line, words[int(rank*rank*rank*rank*float64(len(words)))])
			}
		}
		lines = append(lines, line)
		n, err := fmt.Fprintf(w, "%s%s\n", strings.Repeat("  ", random.IntN(4)), strings.Join(line, " "))
		if err != nil {
			return err
		}
		written += n
	}
	return nil
}

// folderSize is what the files of a folder hold.
func folderSize(root string) (size int64, files int, err error) {
	err = filepath.WalkDir(root, func(_ string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		size, files = size+info.Size(), files+1
		return nil
	})
	return size, files, err
}
