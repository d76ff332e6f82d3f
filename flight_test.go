package berth

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moby/moby/api/types/jsonstream"
)

func TestFlightsShareTheWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f flights
		var works, told atomic.Int32
		work := func(ctx context.Context, tell func(Progress)) (Image, error) {
			works.Add(1)
			time.Sleep(time.Second)
			tell(Progress{})
			time.Sleep(time.Second)
			return Image{ID: "x"}, ctx.Err()
		}
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				img, err := f.do(t.Context(), "key", func(Progress) { told.Add(1) }, work)
				if err != nil || img.ID != "x" {
					t.Errorf("%+v, %v", img, err)
				}
			})
		}
		wg.Wait()
		if works.Load() != 1 || told.Load() != 5 || len(f.m) != 0 {
			t.Errorf("worked %d times, told %d, %d left", works.Load(), told.Load(), len(f.m))
		}
	})
}

// TestLastToLeaveEndsTheWork: and who leaves before others does not.
func TestLastToLeaveEndsTheWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f flights
		var ended atomic.Bool
		work := func(ctx context.Context, _ func(Progress)) (Image, error) {
			<-ctx.Done()
			time.Sleep(time.Millisecond)
			ended.Store(true)
			return Image{}, ctx.Err()
		}
		first, cancelFirst := context.WithCancel(t.Context())
		second, cancelSecond := context.WithCancel(t.Context())
		errs := make(chan error, 2)
		for _, ctx := range []context.Context{first, second} {
			go func() {
				_, err := f.do(ctx, "key", func(Progress) {}, work)
				errs <- err
			}()
		}
		synctest.Wait()
		cancelFirst()
		if err := <-errs; !errors.Is(err, context.Canceled) || ended.Load() {
			t.Errorf("the first: %v, ended %v", err, ended.Load())
		}
		cancelSecond()
		if err := <-errs; !errors.Is(err, context.Canceled) || !ended.Load() {
			t.Errorf("the second: %v, ended %v", err, ended.Load())
		}
	})
}

func TestWatchdogBitesWhenNothingChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, dog, stop := watch(t.Context(), time.Minute)
		defer stop()
		for i := range 10 {
			time.Sleep(50 * time.Second)
			dog.see(jsonstream.Message{ID: "layer", Status: "Downloading", Progress: &jsonstream.Progress{Current: int64(i + 1)}})
		}
		if ctx.Err() != nil {
			t.Fatal("it bit although there was progress")
		}
		for range 10 { // dockerd repeats itself
			time.Sleep(10 * time.Second)
			dog.see(jsonstream.Message{ID: "layer", Status: "Downloading", Progress: &jsonstream.Progress{Current: 10}})
		}
		if !errors.Is(context.Cause(ctx), ErrUnavailable) {
			t.Errorf("it did not bite: %v", context.Cause(ctx))
		}
	})
}

func TestWatchdogThatIsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, dog, stop := watch(t.Context(), 0)
		defer stop()
		dog.see(jsonstream.Message{})
		time.Sleep(24 * time.Hour)
		if ctx.Err() != nil {
			t.Error(ctx.Err())
		}
	})
}
