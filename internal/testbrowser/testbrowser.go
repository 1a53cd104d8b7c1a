// Package testbrowser gives tests a real browser, without a window.
package testbrowser

import (
	"context"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/dynwatch/dynwatch/internal/testenv"
)

// New is a page of a Chromium that ends with the test, and after the given time at the latest.
func New(t testing.TB, after time.Duration) context.Context {
	t.Helper()
	path := testenv.Tool(t, "chromium")
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.WindowSize(1280, 1400),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	Do(t, ctx) // the browser lives as long as this context
	ctx, cancel = context.WithTimeout(ctx, after)
	t.Cleanup(cancel)
	return ctx
}

// Do does one thing after the other.
func Do(t testing.TB, ctx context.Context, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(ctx, actions...); err != nil {
		t.Fatal(err)
	}
}

// Ask is what an action gives.
func Ask[T any](t testing.TB, ctx context.Context, action chromedp.Action[T]) T {
	t.Helper()
	v, err := chromedp.Run(ctx, action)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
