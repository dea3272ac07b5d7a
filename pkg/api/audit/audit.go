// Package audit owns the audit log: one line of JSON for every call that changes
// something or was refused permission, with the field names of CloudTrail's records.
//
// A line is written, in one write, before the call is answered: it survives the
// daemon's death. It is synchronised to disk within a second, so a power cut can
// take the last second's lines. The file is renamed when it is full; a bounded
// number of old ones is kept. Secrets and user data are never written.
//
// It imports pkg/api, pkg/api/authz and pkg/model only.
package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/authz"
	"github.com/bundt/bundt/pkg/model"
)

// Options of a Log.
type Options struct {
	Path   string
	Region string
	// MaxBytes is the size at which a file is renamed; default 32 MiB.
	MaxBytes int64
	// Keep is how many old files are kept, Path.1 being the newest; default 7.
	Keep int
	Now  func() time.Time // default: time.Now
	Log  *slog.Logger     // where a line that could not be written is told; default: discarded
}

// Log writes the audit log. It is safe for concurrent use.
type Log struct {
	options Options

	mu    sync.Mutex
	file  *os.File
	size  int64
	dirty bool // written since the last synchronisation
}

// Open opens the log for appending.
func Open(o Options) (*Log, error) {
	if o.MaxBytes == 0 {
		o.MaxBytes = 32 << 20
	}
	if o.Keep == 0 {
		o.Keep = 7
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	l := &Log{options: o}
	return l, l.open()
}

func (l *Log) open() error {
	f, err := os.OpenFile(l.options.Path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("opening the audit log: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return fmt.Errorf("opening the audit log: %w", err)
	}
	l.file, l.size = f, info.Size()
	return nil
}

// Run synchronises the log every second until ctx ends.
func (l *Log) Run(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			l.sync()
			return
		case <-tick.C:
			l.sync()
		}
	}
}

func (l *Log) sync() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.dirty || l.file == nil {
		return
	}
	if err := l.file.Sync(); err != nil {
		l.options.Log.Error("could not synchronise the audit log", "error", err)
		return
	}
	l.dirty = false
}

// Close synchronises and closes the log.
func (l *Log) Close() error {
	l.sync()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}

// event is a line, in the fields of CloudTrail's records.
// https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html
type event struct {
	EventVersion       string    `json:"eventVersion"`
	UserIdentity       identity  `json:"userIdentity"`
	EventTime          time.Time `json:"eventTime"`
	EventSource        string    `json:"eventSource"`
	EventName          string    `json:"eventName"`
	AWSRegion          string    `json:"awsRegion"`
	SourceIPAddress    string    `json:"sourceIPAddress"`
	UserAgent          string    `json:"userAgent,omitempty"`
	ErrorCode          string    `json:"errorCode,omitempty"`
	ErrorMessage       string    `json:"errorMessage,omitempty"`
	RequestParameters  any       `json:"requestParameters"`
	ResponseElements   any       `json:"responseElements,omitempty"`
	RequestID          string    `json:"requestID"`
	ReadOnly           bool      `json:"readOnly"`
	EventType          string    `json:"eventType"`
	RecipientAccountID string    `json:"recipientAccountId"`
}

type identity struct {
	Type        string `json:"type"`
	PrincipalID string `json:"principalId"`
	ARN         string `json:"arn"`
	AccountID   string `json:"accountId"`
	AccessKeyID string `json:"accessKeyId,omitempty"`
	UserName    string `json:"userName,omitempty"`
}

// ReadOnly reports whether an action of that name changes nothing.
func ReadOnly(action string) bool {
	for _, verb := range []string{"Describe", "Get", "List", "Watch", "Simulate", "Decode"} {
		if strings.HasPrefix(action, verb) {
			return action != "GetSessionToken" // which makes credentials
		}
	}
	return false
}

// Intercept writes the line of a call, as an api.Interceptor.
func (l *Log) Intercept(ctx context.Context, call *api.Call, next api.Next) (any, error) {
	start := l.options.Now()
	// Handlers may change the input, and the dispatcher takes DryRun out of it.
	readOnly := ReadOnly(call.Action)
	var parameters any
	if !readOnly {
		parameters = redacted(call.Input)
	}
	out, err := next(ctx, call)
	code := model.CodeOf(err)
	if readOnly && code != api.CodeUnauthorizedOperation && code != "AccessDenied" {
		return out, err
	}
	if readOnly {
		parameters = redacted(call.Input)
	}
	id := &call.Principal.Identity
	e := event{
		EventVersion: "1.11", EventTime: start.UTC(), EventSource: authz.ServiceOf(authz.ActionOf(call)) + ".amazonaws.com", EventName: call.Action,
		AWSRegion: l.options.Region, SourceIPAddress: source(call), UserAgent: shorten(call.Origin.UserAgent),
		RequestParameters: parameters, RequestID: call.RequestID, ReadOnly: readOnly, EventType: "AwsApiCall", RecipientAccountID: call.Principal.AccountID,
		UserIdentity: identity{Type: kind(id), PrincipalID: id.UserID(), ARN: id.ARN(), AccountID: id.AccountID, AccessKeyID: id.AccessKeyID, UserName: id.User},
	}
	if err != nil {
		e.ErrorCode, e.ErrorMessage = code, message(err)
	} else {
		e.ResponseElements = redacted(out)
	}
	l.write(&e)
	return out, err
}

func source(call *api.Call) string {
	if call.Origin.Address.IsValid() {
		return call.Origin.Address.Unmap().String()
	}
	return call.Principal.Name // "unix-socket"
}

func kind(id *model.Identity) string {
	switch {
	case id.User != "":
		return "IAMUser"
	case id.Role != "":
		return "AssumedRole"
	}
	return "Root"
}

// message is an error's, without what is only for its receiver.
func message(err error) string {
	text, _, _ := strings.Cut(err.Error(), " Encoded authorization failure message: ")
	return shorten(text)
}

const (
	maxText = 1024 // characters of one text in a line
	maxLine = 64 << 10
	maxList = 100 // items of one list in a line
)

func shorten(text string) string {
	if len(text) <= maxText {
		return text
	}
	return strings.ToValidUTF8(text[:maxText], "") + "…"
}

// hidden stands where a secret is.
const hidden = "HIDDEN_DUE_TO_SECURITY_REASONS"

// redacted copies what is set in a request or response, without secrets.
func redacted(v any) any {
	if v == nil {
		return nil
	}
	return redact(reflect.ValueOf(v))
}

func redact(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return nil
		}
		return redact(v.Elem())
	case reflect.Struct:
		if t, ok := v.Interface().(time.Time); ok {
			return t
		}
		out := map[string]any{}
		for f, field := range v.Fields() {
			if !f.IsExported() || field.IsZero() {
				continue
			}
			name := strings.ToLower(f.Name[:1]) + f.Name[1:]
			if secret(f) {
				out[name] = hidden
			} else {
				out[name] = redact(field)
			}
		}
		return out
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return fmt.Sprintf("%d bytes", v.Len())
		}
		out := []any{}
		for i := range min(v.Len(), maxList) {
			out = append(out, redact(v.Index(i)))
		}
		return out
	case reflect.String:
		return shorten(v.String())
	case reflect.Map:
		return fmt.Sprintf("%d entries", v.Len())
	}
	return v.Interface()
}

// secret reports whether a member must not be written: those that the API's model
// marks, and those whose name says so.
func secret(f reflect.StructField) bool {
	return f.Tag.Get("sensitive") == "true" || f.Name == "UserData" || f.Name == "KeyMaterial" || f.Name == "SessionToken" ||
		strings.Contains(f.Name, "Secret") || strings.Contains(f.Name, "Password")
}

func (l *Log) write(e *event) {
	line, err := json.Marshal(e)
	if err == nil && len(line) > maxLine {
		e.RequestParameters, e.ResponseElements = "too large to be written", nil
		line, err = json.Marshal(e)
	}
	if err == nil {
		err = l.append(append(line, '\n'))
	}
	if err != nil {
		l.options.Log.Error("could not write to the audit log", "action", e.EventName, "request", e.RequestID, "by", e.UserIdentity.ARN, "error", err)
	}
}

func (l *Log) append(line []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return fs.ErrClosed
	}
	if l.size > 0 && l.size+int64(len(line)) > l.options.MaxBytes {
		if err := l.rotate(); err != nil {
			return err
		}
	}
	n, err := l.file.Write(line)
	l.size, l.dirty = l.size+int64(n), true
	return err
}

// rotate renames the files, the oldest of which goes, and begins a new one.
func (l *Log) rotate() error {
	if err := l.file.Sync(); err != nil {
		return err
	}
	old := func(n int) string { return fmt.Sprintf("%s.%d", l.options.Path, n) }
	for n := l.options.Keep - 1; n >= 1; n-- {
		if err := os.Rename(old(n), old(n+1)); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	if err := os.Rename(l.options.Path, old(1)); err != nil {
		return err
	}
	l.file.Close()
	l.file = nil
	return l.open()
}
