// Package throttle owns the limits on how fast an account may call: token buckets,
// one for reading and one for changing actions, as EC2 has them, each account its
// own. It imports pkg/api, pkg/api/audit (what is reading) and pkg/model only.
package throttle

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/audit"
	"github.com/bundt/bundt/pkg/model"
)

// Rate is a bucket's: it holds Burst calls and gets PerSecond back.
// https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html
type Rate struct {
	PerSecond float64 // 0 does not limit
	Burst     int
}

// PerSecond is the rate of n calls a second and twice as many at once.
func PerSecond(n int) Rate { return Rate{PerSecond: float64(n), Burst: 2 * n} }

// The rates that hold if nothing else is said: far beyond what people and tools
// need, so that one account's runaway loop leaves time for the others.
var (
	DefaultReads   = PerSecond(5000)
	DefaultChanges = PerSecond(2000)
)

// Limiter limits calls. It is safe for concurrent use.
type Limiter struct {
	reads, changes Rate
	now            func() time.Time

	mu      sync.Mutex
	buckets map[bucketKey]*rate.Limiter
}

type bucketKey struct {
	account string
	changes bool
}

// New returns a limiter; now is time.Now if nil.
func New(reads, changes Rate, now func() time.Time) *Limiter {
	if now == nil {
		now = time.Now
	}
	return &Limiter{reads: reads, changes: changes, now: now, buckets: map[bucketKey]*rate.Limiter{}}
}

// Intercept refuses a call beyond its account's rate, as an api.Interceptor.
func (l *Limiter) Intercept(ctx context.Context, call *api.Call, next api.Next) (any, error) {
	if !l.bucket(call.Principal.AccountID, !audit.ReadOnly(call.Action)).AllowN(l.now(), 1) {
		return nil, model.Errorf("RequestLimitExceeded", "Request limit exceeded.").
			WithHint("try again a little later, and wait longer after each refusal; AWS's clients do so by themselves")
	}
	return next(ctx, call)
}

func (l *Limiter) bucket(account string, changes bool) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := bucketKey{account, changes}
	b := l.buckets[key]
	if b == nil {
		r := l.reads
		if changes {
			r = l.changes
		}
		limit := rate.Limit(r.PerSecond)
		if r.PerSecond <= 0 {
			limit = rate.Inf
		}
		b = rate.NewLimiter(limit, r.Burst)
		l.buckets[key] = b
	}
	return b
}
