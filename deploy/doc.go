// Package deploy holds what dynwatch is installed with: a systemd unit, the container file, the Helm chart and plain manifests, and the
// recipe of the Debian and RPM packages. It has no code but the tests of all that; those that need Helm's and Kubernetes' own libraries are in
// deploy/charttest, a module of its own, so that dynwatch does not depend on them.
package deploy
