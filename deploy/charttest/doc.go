// Package charttest tests the Helm chart and the plain manifests with Helm's and Kubernetes' own libraries. It is a module of its own: dynwatch
// does not depend on them, and a change of theirs touches nothing but these tests.
package charttest
