package conformance

import (
	"context"
	"sync"
	"testing"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2query"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
)

// Interceptor checks every answer of EC2's actions as a client of the Query API
// would get it, whichever way the call came in, and fails the test if one is not
// as EC2's model says. It goes outermost in a dispatcher's chain.
func Interceptor(t testing.TB) api.Interceptor {
	t.Helper()
	m, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	codec := ec2query.EC2()
	var reported sync.Map
	return func(ctx context.Context, call *api.Call, next api.Next) (any, error) {
		out, err := next(ctx, call)
		if _, ok := ec2types.OperationByName(call.Action); !ok {
			return out, err
		}
		var problems []string
		if err != nil {
			_, body := codec.Failure(call.RequestID, asPublic(err))
			problems = m.Error(body)
		} else {
			problems = m.Response(call.Action, codec.Response(call, out))
		}
		for _, p := range problems {
			p = call.Action + " answers what EC2 would not: " + p
			if _, said := reported.LoadOrStore(p, true); !said {
				t.Error(p)
			}
		}
		return out, err
	}
}

// asPublic is the error as the dispatcher hands it on: always a *model.Error,
// and if not, one whose code EC2 does not have.
func asPublic(err error) *model.Error {
	if e, ok := err.(*model.Error); ok { //nolint:errorlint // what is wrapped is not what the client gets
		return e
	}
	return model.Errorf("NotPublic", "%v", err)
}
