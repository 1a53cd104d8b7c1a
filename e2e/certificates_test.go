package e2e

import "github.com/dynwatch/dynwatch/internal/testchains"

// chain is what a server shows.
type chain = testchains.Chain

const (
	good       = testchains.Good
	forged     = testchains.Forged
	corp       = testchains.Corp
	selfSigned = testchains.SelfSigned
	expired    = testchains.Expired
	wrongName  = testchains.WrongName
)
