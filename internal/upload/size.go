package upload

import (
	"errors"
	"fmt"
)

// https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
const (
	maxParts = 10_000
	// MaxBytes is the largest bundle: 5 TB.
	MaxBytes = 5_000_000_000_000

	// partBytes is one buffer, and the least that S3 takes. At AWS's pace (0.1 s a
	// request, 90 MB/s a connection) eight of them at a time are 250 MB/s: two
	// processors, which compress half of that, wait for none.
	partBytes = 5 << 20
	// parallel are the parts that are under way at a time.
	parallel = 8
	// maxBuffered holds all parts that are under way, where they are so large
	// that fewer of them do.
	maxBuffered = (parallel + 1) * partBytes
)

// ErrTooLarge is wrapped by the errors on what S3 takes no object of.
var ErrTooLarge = errors.New("too large")

// PartSize is how large the parts of a stream are that has at most about
// expected bytes. They grow where more than 10,000 would be needed.
func PartSize(expected int64) (int64, error) {
	if expected > MaxBytes {
		return 0, fmt.Errorf("%w: the folder has %d bytes of content, and one object of S3 at most 5 TB (%d)", ErrTooLarge, expected, int64(MaxBytes))
	}
	// A tenth is left for what the archive adds, and for content that gzip only
	// makes larger.
	return max(partBytes, expected/(maxParts*9/10)+1), nil
}

// concurrency keeps the buffers of large parts within those of small ones, as
// long as two of them are sent at a time.
func concurrency(part int64) int {
	return int(min(parallel, max(2, maxBuffered/part-1)))
}
