package store

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// newZapLogger returns a logger for etcd that writes to log. etcd reports errors
// that it cannot survive, such as a failed write to its log, by ending the
// process through its logger. A library must not do that: failed is told, and
// only the goroutine ends.
func newZapLogger(log *slog.Logger, failed func(error)) *zap.Logger {
	stop := fatalHook(failed)
	return zap.New(&slogCore{log: log},
		zap.WithFatalHook(stop), zap.WithPanicHook(stop))
}

type fatalHook func(error)

func (h fatalHook) OnWrite(entry *zapcore.CheckedEntry, fields []zapcore.Field) {
	err := fmt.Errorf("%w: %s", ErrFailed, entry.Message)
	for _, f := range fields {
		if cause, ok := f.Interface.(error); ok && f.Type == zapcore.ErrorType {
			err = fmt.Errorf("%w: %w", err, cause)
		}
	}
	h(err)
	runtime.Goexit()
}

// slogCore writes zap's entries to slog, one level lower than etcd gave them,
// because its daily business is no news to bundt's operator.
type slogCore struct {
	log *slog.Logger
}

func slogLevel(l zapcore.Level) slog.Level {
	switch {
	case l <= zapcore.InfoLevel:
		return slog.LevelDebug
	case l == zapcore.WarnLevel:
		return slog.LevelInfo
	default:
		return slog.LevelError
	}
}

func (c *slogCore) Enabled(l zapcore.Level) bool {
	if l == zapcore.DebugLevel {
		return false
	}
	return c.log.Enabled(context.Background(), slogLevel(l))
}

func (c *slogCore) With(fields []zapcore.Field) zapcore.Core {
	return &slogCore{log: c.log.With(slogAttrs(fields)...)}
}

func (c *slogCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

func (c *slogCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	c.log.Log(context.Background(), slogLevel(e.Level), "etcd: "+e.Message, slogAttrs(fields)...)
	return nil
}

func (c *slogCore) Sync() error { return nil }

func slogAttrs(fields []zapcore.Field) []any {
	enc := zapcore.NewMapObjectEncoder()
	attrs := make([]any, 0, len(fields))
	for _, f := range fields {
		f.AddTo(enc)
	}
	for _, f := range fields {
		if v, ok := enc.Fields[f.Key]; ok {
			attrs = append(attrs, slog.Any(f.Key, v))
		}
	}
	return attrs
}
