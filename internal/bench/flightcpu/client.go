package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"

	"github.com/apache/arrow/go/v17/arrow/flight"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"context"
)

// client reads a dataset with the stock client and prints how many bytes of
// columns it got.
func client(address, what string) error {
	cc, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
	if err != nil {
		return err
	}
	defer cc.Close()
	c, ctx := flight.NewClientFromConn(cc, nil), context.Background()
	info, err := c.GetFlightInfo(ctx, &flight.FlightDescriptor{Type: flight.DescriptorPATH, Path: path(what)})
	if err != nil {
		return err
	}
	var total int64
	if what == "shuffled" {
		if total, err = exchange(ctx, c, info.TotalRecords); err != nil {
			return err
		}
	} else {
		for _, e := range info.Endpoint {
			st, err := c.DoGet(ctx, e.Ticket)
			if err != nil {
				return err
			}
			n, err := drain(st, -1)
			if err != nil {
				return err
			}
			total += n
		}
	}
	_, err = fmt.Print(total)
	return err
}

// path names a snapshot; the stock server knows only one state.
func path(what string) []string {
	if what == "writer" {
		return []string{"p", what}
	}
	return []string{"p", what + "@s1"}
}

type receiver interface {
	Recv() (*flight.FlightData, error)
}

// drain takes messages until the end, or until so many batches have come.
func drain(st receiver, batches int) (n int64, err error) {
	for batches != 0 {
		d, err := st.Recv()
		if err == io.EOF && batches < 0 {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		if len(d.DataBody) > 0 {
			n += int64(len(d.DataBody))
			batches--
		}
	}
	return n, nil
}

// exchange asks for every sample once, in random order, 32 at a time, four
// requests ahead.
func exchange(ctx context.Context, c flight.Client, rows int64) (int64, error) {
	st, err := c.DoExchange(ctx)
	if err != nil {
		return 0, err
	}
	order := rand.New(rand.NewPCG(1, 2)).Perm(int(rows))
	ask := func(i int) error {
		if i*32 >= len(order) {
			return nil
		}
		b, err := json.Marshal(map[string]any{"indices": order[i*32 : min(i*32+32, len(order))]})
		if err != nil {
			return err
		}
		d := &flight.FlightData{AppMetadata: b}
		if i == 0 {
			d.FlightDescriptor = &flight.FlightDescriptor{Type: flight.DescriptorPATH, Path: path("shuffled")}
		}
		return st.Send(d)
	}
	var total int64
	for i := range 4 {
		if err := ask(i); err != nil {
			return 0, err
		}
	}
	for i := range (len(order) + 31) / 32 {
		n, err := drain(st, 1)
		if err != nil {
			return 0, err
		}
		total += n
		if err := ask(i + 4); err != nil {
			return 0, err
		}
	}
	return total, st.CloseSend()
}
