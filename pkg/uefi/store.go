// Package uefi reads the variables of UEFI firmware: from the flash image in which
// EDK II's firmware (OVMF, AAVMF) keeps them, into the form in which EC2 hands
// them out. It imports no package of ours.
package uefi

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"unicode/utf16"
)

// GUID names a variable's vendor, in the order of bytes that UEFI stores.
type GUID [16]byte

// Variable is one variable of a store.
type Variable struct {
	Name       string
	Vendor     GUID
	Attributes uint32
	Data       []byte
	// Timestamp is an EFI_TIME and Digest the hash of the signer's certificate,
	// of variables that only their signer may write. Zeros and nil if it has none.
	Timestamp [16]byte
	Digest    []byte
}

// timeAuthenticated is EFI_VARIABLE_TIME_BASED_AUTHENTICATED_WRITE_ACCESS.
const timeAuthenticated = 0x20

// ErrFormat says that a flash image holds no variable store of EDK II.
var ErrFormat = errors.New("no UEFI variable store")

// Where things are in a firmware volume (EFI_FIRMWARE_VOLUME_HEADER, UEFI's Platform
// Initialization specification, volume 3) and in EDK II's store inside it
// (VARIABLE_STORE_HEADER and AUTHENTICATED_VARIABLE_HEADER, of its VariableFormat.h).
const (
	volumeSignatureAt = 40
	volumeHeaderLenAt = 48
	storeHeaderLen    = 28
	variableHeaderLen = 60
	variableStart     = 0x55aa
)

// A variable's state is written by clearing bits of it, so that the power may fail
// at any moment: added, then (while its successor is written) going, then deleted.
const (
	stateAdded = 0x3f
	stateGoing = 0x3d // added & in deleted transition
)

var (
	authenticatedStore = guid("782cf3aa7b949a43a1802e144ec37792")
	certificates       = guid("6ee5bed9dc75d949b4d7b534210f637a") // vendor of "certdb"
)

func guid(s string) (g GUID) {
	if n, err := hex.Decode(g[:], []byte(s)); err != nil || n != len(g) {
		panic("not a GUID: " + s)
	}
	return g
}

// Parse returns the variables of a flash image, in its order. An image of zeros or
// ones, which no firmware has formatted yet, has none. Errors are of kind ErrFormat.
func Parse(flash []byte) ([]Variable, error) {
	if blank(flash) {
		return nil, nil
	}
	if len(flash) < 72 || string(flash[volumeSignatureAt:volumeSignatureAt+4]) != "_FVH" {
		return nil, fmt.Errorf("%w: no firmware volume", ErrFormat)
	}
	at := int(binary.LittleEndian.Uint16(flash[volumeHeaderLenAt:]))
	if len(flash) < at+storeHeaderLen || GUID(flash[at:at+16]) != authenticatedStore {
		return nil, fmt.Errorf("%w: not the format of authenticated variables", ErrFormat)
	}
	size := int64(binary.LittleEndian.Uint32(flash[at+16:]))
	if size < storeHeaderLen || int64(at)+size > int64(len(flash)) {
		return nil, fmt.Errorf("%w: %d bytes at %d are more than there are", ErrFormat, size, at)
	}
	return parseStore(flash[at+storeHeaderLen : at+int(size)])
}

// blank looks at what every store begins with.
func blank(flash []byte) bool {
	head := flash[:min(len(flash), 72)]
	return len(bytes.Trim(head, "\x00")) == 0 || len(bytes.Trim(head, "\xff")) == 0
}

func parseStore(b []byte) ([]Variable, error) {
	var vars []Variable
	going := map[int]bool{} // indexes of variables that a successor may replace
	for len(b) >= variableHeaderLen && binary.LittleEndian.Uint16(b) == variableStart {
		nameLen, dataLen := uint64(binary.LittleEndian.Uint32(b[36:])), uint64(binary.LittleEndian.Uint32(b[40:]))
		end := variableHeaderLen + nameLen + dataLen
		state := b[2]
		complete := state&^stateAdded == 0
		if end > uint64(len(b)) && !complete {
			break // the firmware is writing its header, or was when it ended
		}
		if end > uint64(len(b)) || nameLen%2 != 0 {
			return nil, fmt.Errorf("%w: a variable of %d bytes does not fit", ErrFormat, end)
		}
		if state == stateAdded || state == stateGoing {
			going[len(vars)] = state == stateGoing
			vars = append(vars, Variable{
				Name: text(b[variableHeaderLen:][:nameLen]), Vendor: GUID(b[44:60]), Attributes: binary.LittleEndian.Uint32(b[4:]),
				Data: bytes.Clone(b[variableHeaderLen+nameLen : end]), Timestamp: [16]byte(b[16:32]),
			})
		}
		b = b[min((end+3)&^3, uint64(len(b))):]
	}
	return signed(settled(vars, going))
}

// settled leaves out variables whose successors are complete.
func settled(vars []Variable, going map[int]bool) []Variable {
	type key struct {
		name   string
		vendor GUID
	}
	has := map[key]bool{}
	for i, v := range vars {
		if !going[i] {
			has[key{v.Name, v.Vendor}] = true
		}
	}
	var out []Variable
	for i, v := range vars {
		if !going[i] || !has[key{v.Name, v.Vendor}] {
			out = append(out, v)
		}
	}
	return out
}

// signed takes the certificates' database, which is a variable itself, to the
// variables that it is about (AUTH_CERT_DB_DATA of EDK II's AuthService).
func signed(vars []Variable) ([]Variable, error) {
	var out []Variable
	var db []byte
	for _, v := range vars {
		if v.Name == "certdb" && v.Vendor == certificates {
			db = v.Data
			continue
		}
		out = append(out, v)
	}
	if len(db) < 4 {
		return out, nil
	}
	const nodeHeader = 28
	for b := db[4:]; len(b) > 0; {
		if len(b) < nodeHeader {
			return nil, fmt.Errorf("%w: its certificates are cut off", ErrFormat)
		}
		chars, digestLen := uint64(binary.LittleEndian.Uint32(b[20:])), uint64(binary.LittleEndian.Uint32(b[24:]))
		end := nodeHeader + 2*chars + digestLen
		if end > uint64(len(b)) {
			return nil, fmt.Errorf("%w: a certificate of %d bytes does not fit", ErrFormat, end)
		}
		name, vendor := text(b[nodeHeader:][:2*chars]), GUID(b[:16])
		for i := range out {
			if out[i].Name == name && out[i].Vendor == vendor {
				out[i].Digest = bytes.Clone(b[nodeHeader+2*chars : end])
			}
		}
		b = b[end:]
	}
	return out, nil
}

// text is UTF-16 up to its end or a NUL.
func text(b []byte) string {
	var units []uint16
	for ; len(b) >= 2; b = b[2:] {
		u := binary.LittleEndian.Uint16(b)
		if u == 0 {
			break
		}
		units = append(units, u)
	}
	return string(utf16.Decode(units))
}
