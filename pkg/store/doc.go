// Package store owns bundt's durable state: typed objects in etcd, embedded by
// default. All changes of more than one object are one transaction. It knows
// nothing of what the objects mean and imports no other package of this project.
package store
