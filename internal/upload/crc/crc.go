// Package crc adds CRC64NVME checksums up, as S3 does for an object in parts.
package crc

// nvme is the polynomial of CRC64NVME, its lowest bit first.
const nvme = 0x9a6c9329ac4bc9b5

// Combine returns the CRC of two texts one after the other, by those of each and
// the length of the second. It is how S3 gets at the checksum of an object whose
// parts it has: a CRC of a text with n zeros behind it is a linear function of
// the text's own, which is a matrix of bits, squared for every bit of n.
func Combine(first, second uint64, length int64) uint64 {
	// shift moves a CRC on by one zero bit.
	var shift [64]uint64
	shift[0] = nvme
	for i := 1; i < 64; i++ {
		shift[i] = 1 << (i - 1)
	}
	matrix := shift
	for range 3 { // by one zero byte
		matrix = square(matrix)
	}
	for ; length > 0; length >>= 1 {
		if length&1 == 1 {
			first = times(matrix, first)
		}
		matrix = square(matrix)
	}
	return first ^ second
}

func times(matrix [64]uint64, vector uint64) (sum uint64) {
	for i := 0; vector != 0; i, vector = i+1, vector>>1 {
		if vector&1 == 1 {
			sum ^= matrix[i]
		}
	}
	return sum
}

func square(matrix [64]uint64) (squared [64]uint64) {
	for i := range matrix {
		squared[i] = times(matrix, matrix[i])
	}
	return squared
}
