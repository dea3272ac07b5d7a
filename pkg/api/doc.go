// Package api owns the action table: which actions there are, which members of
// each request they act on, and the dispatcher that does once what is common to
// all of them. The codecs (jsonapi, ec2query, json11) turn bytes into a Call and
// back; handlers turn a Call's input into use cases of pkg/cloud.
//
// What the dispatcher does for every action, in this order:
//
//  1. an empty string is an absent member (some clients send "VpcId="), except
//     where the action says otherwise (Action.KeepEmpty);
//  2. MissingParameter for a required member that is absent;
//  3. InvalidParameterValue for a value outside of the model's enum or bounds;
//  4. UnsupportedOperation for a member that is set and that the handler does
//     not act on: nothing is ever silently ignored;
//  5. what the request only names is filled in (Action.Resolve), and 2 to 4 again;
//  6. authorisation, of all that is to be done;
//  7. DryRunOperation if the request has DryRun set: handlers never see it;
//  8. the handler; its panics and plain errors become InternalError, and the
//     reason goes to the log, not to the client.
//
// Idempotency tokens are not the dispatcher's: a token must be recorded in the
// same store transaction as what the request changes, or a crash between the two
// would make a retry launch twice. Handlers pass ClientToken on to pkg/cloud,
// which keeps it with the request's digest and answers a retry from the record.
//
// Package api imports pkg/model and the generated types only.
package api
