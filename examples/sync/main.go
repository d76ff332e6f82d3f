// Command sync copies images from one registry to another, four at a time, and goes on
// when one fails. It needs no engine and no root.
//
//	sync -from registry.example/team -to mirror.example/team app:1 tools:2
//
// Names and passwords are those of `docker login`. With -ca it trusts further certificates.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"sync"

	"github.com/berth-dev/berth"
)

const atOnce = 4 // images

func main() {
	from := flag.String("from", "", "registry, and first part of the names there")
	to := flag.String("to", "", "the same of the target")
	ca := flag.String("ca", "", "file with certificates to trust besides the system's")
	flag.Parse()
	if *from == "" || *to == "" || flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	transport, err := trusting(*ca)
	if err != nil {
		fmt.Fprintln(os.Stderr, "sync:", err)
		os.Exit(1)
	}
	if err := copyAll(ctx, *from, *to, flag.Args(), berth.WithTransport(transport)); err != nil {
		fmt.Fprintln(os.Stderr, "sync:", err)
		os.Exit(1)
	}
}

func copyAll(ctx context.Context, from, to string, images []string, opts ...berth.TransferOption) error {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		errs []error
	)
	slots := make(chan struct{}, atOnce)
	for _, image := range images {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			err := berth.Copy(ctx, from+"/"+image, to+"/"+image, opts...)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case errors.Is(err, berth.ErrNotFound):
				errs = append(errs, fmt.Errorf("%s does not exist any more: %w", image, err))
			case err != nil:
				errs = append(errs, err)
			default:
				fmt.Println("copied", image)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func trusting(file string) (http.RoundTripper, error) {
	if file == "" {
		return http.DefaultTransport, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool.AppendCertsFromPEM(pem)
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	return t, nil
}
