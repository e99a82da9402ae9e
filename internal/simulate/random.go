package simulate

import "math/bits"

// random is a splitmix64 generator: one word of state, so that each delivery
// can afford its own, and the same sequence on every Go version.
type random uint64

func (r *random) next() uint64 {
	*r += 0x9e3779b97f4a7c15
	return mix64(uint64(*r))
}

// below returns a number from 0 to n-1; n must be positive.
func (r *random) below(n int) int {
	hi, _ := bits.Mul64(r.next(), uint64(n)) //nolint:gosec // n is positive
	return int(hi)                           //nolint:gosec // below n
}

// mix64 scatters the bits of a number; no two numbers have the same result.
func mix64(v uint64) uint64 {
	v = (v ^ v>>30) * 0xbf58476d1ce4e5b9
	v = (v ^ v>>27) * 0x94d049bb133111eb
	return v ^ v>>31
}

func pick[T any](r *random, from []T) T { return from[r.below(len(from))] }

const hexDigits = "0123456789abcdef"

// appendHex appends the lowest n hex digits of v.
func appendHex(dst []byte, v uint64, n int) []byte {
	for i := n - 1; i >= 0; i-- {
		dst = append(dst, hexDigits[v>>(4*i)&15])
	}
	return dst
}

// appendUUID appends a random version 4 UUID.
func appendUUID(dst []byte, r *random) []byte {
	a, b := r.next(), r.next()
	a = a&^0xf000 | 0x4000
	b = b&^(3<<62) | 1<<63
	dst = append(appendHex(dst, a>>32, 8), '-')
	dst = append(appendHex(dst, a>>16, 4), '-')
	dst = append(appendHex(dst, a, 4), '-')
	dst = append(appendHex(dst, b>>48, 4), '-')
	return appendHex(dst, b, 12)
}
