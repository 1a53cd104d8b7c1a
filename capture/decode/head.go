package decode

import "unsafe"

// HeadLength is how many bytes of a frame stand before the payload that Decode found in it; all of them if it found none. ok is false if the
// payload is no part of the frame: it was put together from fragments.
func HeadLength(frame, payload []byte) (n int, ok bool) {
	if len(payload) == 0 {
		return len(frame), true
	}
	n = int(uintptr(unsafe.Pointer(unsafe.SliceData(payload))) - uintptr(unsafe.Pointer(unsafe.SliceData(frame))))
	return n, n >= 0 && n+len(payload) <= len(frame)
}
