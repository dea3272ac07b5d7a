package jsonapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/api/jsonapi"
	"github.com/bundt/bundt/pkg/model"
)

func newHandler(t *testing.T, o jsonapi.Options, seen ...api.Interceptor) http.Handler {
	t.Helper()
	table := api.NewTable()
	api.Register(table, api.Action[ec2types.StopInstancesInput, ec2types.StopInstancesOutput]{
		Name: "StopInstances",
		Acts: []string{"InstanceIds"},
		Handler: func(_ context.Context, in *ec2types.StopInstancesInput) (*ec2types.StopInstancesOutput, error) {
			switch in.InstanceIds[0] {
			case "i-absent":
				return nil, model.Errorf(model.CodeInstanceIDNotFound, "The instance ID '%s' does not exist", "i-absent").WithHint("see `bundt ls`")
			case "i-broken":
				return nil, errors.New("secret reason")
			}
			return &ec2types.StopInstancesOutput{StoppingInstances: []ec2types.InstanceStateChange{{InstanceId: new(in.InstanceIds[0] + "<&>")}}}, nil
		},
	})
	api.RegisterStream(table, api.Stream[ec2types.StopInstancesInput, string]{
		Name: "Watch",
		Acts: []string{"InstanceIds"},
		Handler: func(_ context.Context, in *ec2types.StopInstancesInput, send func(string) error) error {
			if in.InstanceIds[0] == "i-absent" {
				return model.Errorf(model.CodeInstanceIDNotFound, "no")
			}
			return errors.Join(send("one\n"), send("two"))
		},
	})
	d, err := api.NewDispatcher(table, api.Options{Interceptors: seen, Authorize: func(_ context.Context, c *api.Call) error {
		if c.Principal.Name == "nobody" {
			return model.Errorf(api.CodeUnauthorizedOperation, "no")
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if o.Authenticate == nil {
		o.Authenticate = func(r *http.Request) (api.Principal, error) {
			if r.Header.Get("X-User") == "" {
				return api.Principal{}, errors.New("secret: no user")
			}
			return api.Principal{Name: r.Header.Get("X-User")}, nil
		}
	}
	h, err := jsonapi.Handler(d, o)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestHandler(t *testing.T) {
	handler := newHandler(t, jsonapi.Options{Version: map[string]string{"Version": "1"}})
	for name, tc := range map[string]struct {
		method, path, body string
		header             map[string]string
		status             int
		want               string // in the answer
	}{
		"call":             {path: "/api/StopInstances", body: `{"InstanceIds":["i-1"]}`, status: 200, want: `{"StoppingInstances":[{"InstanceId":"i-1<&>"}]}`},
		"error":            {path: "/api/StopInstances", body: `{"InstanceIds":["i-absent"]}`, status: 400, want: `{"Error":{"Code":"InvalidInstanceID.NotFound","Message":"The instance ID 'i-absent' does not exist","Hint":"see ` + "`bundt ls`" + `"},"RequestId":"`},
		"internal error":   {path: "/api/StopInstances", body: `{"InstanceIds":["i-broken"]}`, status: 500, want: `"Code":"InternalError"`},
		"dry run":          {path: "/api/StopInstances", body: `{"InstanceIds":["i-1"],"DryRun":true}`, status: 412, want: "DryRunOperation"},
		"missing":          {path: "/api/StopInstances", body: `{}`, status: 400, want: "MissingParameter"},
		"unsupported":      {path: "/api/StopInstances", body: `{"InstanceIds":["i-1"],"Hibernate":true}`, status: 400, want: "UnsupportedOperation"},
		"unknown member":   {path: "/api/StopInstances", body: `{"InstanceIds":["i-1"],"Colour":true}`, status: 400, want: "UnknownParameter"},
		"unknown action":   {path: "/api/LaunchRockets", body: `{}`, status: 400, want: "InvalidAction"},
		"not JSON":         {path: "/api/StopInstances", body: `InstanceIds=i-1`, status: 400, want: "MalformedQueryString"},
		"form":             {path: "/api/StopInstances", body: `{}`, header: map[string]string{"Content-Type": "text/plain"}, status: 400, want: "Content-Type"},
		"too large":        {path: "/api/StopInstances", body: `{"InstanceIds":["` + strings.Repeat("x", jsonapi.MaxBody) + `"]}`, status: 413, want: "RequestEntityTooLarge"},
		"not known":        {path: "/api/StopInstances", body: `{}`, header: map[string]string{"X-User": ""}, status: 401, want: "AuthFailure"},
		"not allowed":      {path: "/api/StopInstances", body: `{"InstanceIds":["i-1"]}`, header: map[string]string{"X-User": "nobody"}, status: 403, want: "UnauthorizedOperation"},
		"upload refused":   {path: "/api/upload", header: map[string]string{"Content-Type": "application/octet-stream"}, status: 400, want: "UnsupportedOperation"},
		"connect refused":  {path: "/api/Connect", status: 400, want: "UnsupportedOperation"},
		"stream":           {path: "/api/Watch", body: `{"InstanceIds":["i-1"]}`, status: 200, want: "event: message\ndata: \"one\\n\"\n\nevent: message\ndata: \"two\"\n\nevent: end\ndata: {}\n\n"},
		"stream's error":   {path: "/api/Watch", body: `{"InstanceIds":["i-absent"]}`, status: 400, want: "InvalidInstanceID.NotFound"},
		"stream, missing":  {path: "/api/Watch", body: `{}`, status: 400, want: "MissingParameter"},
		"actions":          {method: "GET", path: "/api/", status: 200, want: `{"Actions":[{"Name":"StopInstances","Acts":["InstanceIds"]},{"Name":"Watch","Acts":["InstanceIds"],"Stream":true}]}`},
		"version":          {method: "GET", path: "/api/version", status: 200, want: `{"Version":"1"}`},
		"health":           {method: "GET", path: "/healthz", status: 200, want: "ok"},
		"GET of an action": {method: "GET", path: "/api/StopInstances", status: 405},
		"elsewhere":        {method: "GET", path: "/", status: 404},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.method == "" {
				tc.method = "POST"
			}
			r := httptest.NewRequest(tc.method, tc.path, strings.NewReader(tc.body))
			r.Header.Set("Content-Type", "application/json; charset=utf-8")
			r.Header.Set("X-User", "ana")
			for k, v := range tc.header {
				r.Header.Set(k, v)
			}
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			if w.Code != tc.status || !strings.Contains(w.Body.String(), tc.want) {
				t.Errorf("got %d %s, want %d %s", w.Code, w.Body, tc.status, tc.want)
			}
			if strings.Contains(w.Body.String(), "secret") {
				t.Errorf("the answer has an internal reason: %s", w.Body)
			}
		})
	}
}

func TestErrorHasTheRequestID(t *testing.T) {
	r := httptest.NewRequest("POST", "/api/LaunchRockets", nil)
	r.Header.Set("X-User", "ana")
	w := httptest.NewRecorder()
	newHandler(t, jsonapi.Options{}).ServeHTTP(w, r)
	var body struct{ RequestId string }
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || body.RequestId == "" || body.RequestId != w.Header().Get(jsonapi.RequestIDHeader) {
		t.Errorf("request id %q in the body, %q in the header, %v", body.RequestId, w.Header().Get(jsonapi.RequestIDHeader), err)
	}
}

func TestUploadNeedsPermission(t *testing.T) {
	touched := false
	handler := newHandler(t, jsonapi.Options{Uploads: jsonapi.UploadFunc(func(context.Context, io.Reader) (string, int64, error) {
		touched = true
		return "", 0, nil
	})})
	for user, status := range map[string]int{"nobody": 403, "ana": 200} {
		touched = false
		r := httptest.NewRequest("POST", "/api/upload", strings.NewReader("x"))
		r.Header.Set("Content-Type", "application/octet-stream")
		r.Header.Set("X-User", user)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != status || touched != (status == 200) {
			t.Errorf("%s: %d, uploader called: %v", user, w.Code, touched)
		}
	}
}

// TestInterceptorsSeeEverything: uploads and connections are audited too.
func TestInterceptorsSeeEverything(t *testing.T) {
	var calls []string
	handler := newHandler(t, jsonapi.Options{
		Uploads: jsonapi.UploadFunc(func(context.Context, io.Reader) (string, int64, error) { return "sha256:0", 0, nil }),
		Connect: func(context.Context, string, uint16) (net.Conn, error) { return nil, errors.New("no route") },
	}, func(ctx context.Context, c *api.Call, next api.Next) (any, error) {
		out, err := next(ctx, c)
		calls = append(calls, c.Principal.Name+" "+c.Action+" "+model.CodeOf(err))
		return out, err
	})
	for _, user := range []string{"ana", "nobody"} {
		for path, header := range map[string]http.Header{
			"/api/upload":                         {"Content-Type": {"application/octet-stream"}},
			"/api/Connect?InstanceId=i-1&Port=22": {"Upgrade": {jsonapi.StreamProtocol}},
		} {
			r := httptest.NewRequest("POST", path, nil)
			r.Header = header
			r.Header.Set("X-User", user)
			handler.ServeHTTP(httptest.NewRecorder(), r)
		}
	}
	slices.Sort(calls)
	want := []string{"ana Connect InternalError", "ana Upload ", "nobody Connect UnauthorizedOperation", "nobody Upload UnauthorizedOperation"}
	if !slices.Equal(calls, want) {
		t.Errorf("seen: %q", calls)
	}
}

func TestConnectRefuses(t *testing.T) {
	for query, code := range map[string]string{
		"InstanceId=i-1":                   model.CodeMissingParameter,
		"Port=22":                          model.CodeMissingParameter,
		"InstanceId=i-1&Port=0":            model.CodeInvalidParameterValue,
		"InstanceId=i-1&Port=65536":        model.CodeInvalidParameterValue,
		"InstanceId=i-1&Port=ssh":          model.CodeInvalidParameterValue,
		"InstanceId=i-1&Port=1&Port=2":     model.CodeInvalidParameterValue,
		"InstanceId=i-1&Port=22&Colour=on": model.CodeUnknownParameter,
	} {
		t.Run(query, func(t *testing.T) {
			w := connect(t, query, "ana", jsonapi.StreamProtocol)
			if !strings.Contains(w.Body.String(), `"`+code+`"`) {
				t.Errorf("got %d %s, want %s", w.Code, w.Body, code)
			}
		})
	}
	if w := connect(t, "InstanceId=i-1&Port=22", "ana", "websocket"); w.Code != 400 {
		t.Errorf("another protocol: %d %s", w.Code, w.Body)
	}
	if w := connect(t, "InstanceId=i-1&Port=22", "nobody", jsonapi.StreamProtocol); w.Code != 403 {
		t.Errorf("without permission: %d %s", w.Code, w.Body)
	}
}

// connect asks for a connection that must be refused before a guest is dialled.
func connect(t *testing.T, query, user, protocol string) *httptest.ResponseRecorder {
	t.Helper()
	handler := newHandler(t, jsonapi.Options{Connect: func(context.Context, string, uint16) (net.Conn, error) {
		t.Error("a guest was dialled")
		return nil, errors.New("unreachable")
	}})
	r := httptest.NewRequest("POST", "/api/Connect?"+query, nil)
	r.Header.Set("X-User", user)
	r.Header.Set("Upgrade", protocol)
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w
}
