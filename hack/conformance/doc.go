// Package conformance checks answers against EC2's API model: that every element
// of a response is one that the model has at that place, that its text is of the
// member's type and of its enum, that ids have the form of their kind, that what
// clients read without asking is there, and that an error's code is one of EC2's.
//
// It reads the model itself (hack/ec2gen/model.json) and the bytes that a client
// would get, so that a mistake in the generator, in a struct tag or in a codec
// shows as well as one in a handler. Its Interceptor checks every answer of every
// test that wires it in. It is for tests only.
package conformance
