package crc

import (
	"math/rand/v2"
	"testing"

	"github.com/minio/crc64nvme"
	"github.com/stretchr/testify/assert"
)

func TestChecksumsOfPartsMakeThatOfTheWhole(t *testing.T) {
	random := rand.NewChaCha8([32]byte{})
	text := make([]byte, 100_000)
	_, _ = random.Read(text)
	for _, cut := range []int{0, 1, 7, 8, 255, 65_536, 99_999, 100_000} {
		first, second := crc64nvme.Checksum(text[:cut]), crc64nvme.Checksum(text[cut:])
		assert.Equal(t, crc64nvme.Checksum(text), Combine(first, second, int64(len(text)-cut)), "cut at %d", cut)
	}
	// https://reveng.sourceforge.io/crc-catalogue/all.htm#crc.cat.crc-64-nvme
	assert.EqualValues(t, uint64(0xae8b14860a799888), crc64nvme.Checksum([]byte("123456789")))
}
