package flight

import (
	"context"
	"time"

	"github.com/apache/arrow/go/v17/arrow/flight"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"daos/internal/fault"
	"daos/server/pool"
)

// Action is something that DoAction can do.
type Action struct {
	Name        string
	Description string
	// Run answers a request; each slice is the body of one Result.
	Run func(ctx context.Context, body []byte) ([][]byte, error)
}

// ListActions lists them, in the order of their registration.
func (s *Server) ListActions(_ *flight.Empty, out flight.FlightService_ListActionsServer) error {
	for _, a := range s.allActions() {
		if err := out.Send(&flight.ActionType{Type: a.Name, Description: a.Description}); err != nil {
			return err
		}
	}
	return nil
}

// DoAction runs one.
func (s *Server) DoAction(a *flight.Action, out flight.FlightService_DoActionServer) error {
	do, ok := s.actions[a.GetType()]
	if !ok {
		return fault.New(fault.Unsupported, "flight.action", clip(a.GetType()), "there is no such action").Do("ListActions says what there is")
	}
	bodies, err := do.Run(out.Context(), a.GetBody())
	if err != nil {
		return err
	}
	for _, b := range bodies {
		if err := out.Send(&flight.Result{Body: b}); err != nil {
			return err
		}
	}
	return nil
}

// cancelAction is Flight's own CancelFlightInfo: it ends the DoGet calls that
// use one of the tickets of a FlightInfo.
func (s *Server) cancelAction() Action {
	return Action{
		Name:        flight.CancelFlightInfoActionType,
		Description: "ends the DoGet calls of the given FlightInfo's tickets (CancelFlightInfoRequest -> CancelFlightInfoResult)",
		Run: func(_ context.Context, body []byte) ([][]byte, error) {
			var req flight.CancelFlightInfoRequest
			if err := proto.Unmarshal(body, &req); err != nil {
				return nil, fault.New(fault.Invalid, "flight.action", flight.CancelFlightInfoActionType, "the request can't be read").Because(err)
			}
			n := 0
			for _, e := range req.GetInfo().GetEndpoint() {
				if _, _, err := openTicket(s.o.Key, e.GetTicket().GetTicket()); err != nil {
					return nil, err
				}
				n += s.running.cancel(string(e.GetTicket().GetTicket()))
			}
			res := &flight.CancelFlightInfoResult{Status: flight.CancelStatusCancelled}
			if n == 0 {
				res.Status = flight.CancelStatusNotCancellable
			}
			b, err := proto.Marshal(res)
			return [][]byte{b}, err
		},
	}
}

// renewAction is Flight's own RenewFlightEndpoint: what the ticket reads stays
// readable for pool.PinTTL from now on.
func (s *Server) renewAction() Action {
	return Action{
		Name:        flight.RenewFlightEndpointActionType,
		Description: "keeps what an endpoint's ticket reads readable for ten more minutes (RenewFlightEndpointRequest -> FlightEndpoint)",
		Run: func(ctx context.Context, body []byte) ([][]byte, error) {
			var req flight.RenewFlightEndpointRequest
			if err := proto.Unmarshal(body, &req); err != nil {
				return nil, fault.New(fault.Invalid, "flight.action", flight.RenewFlightEndpointActionType, "the request can't be read").Because(err)
			}
			to, id, err := openTicket(s.o.Key, req.GetEndpoint().GetTicket().GetTicket())
			if err != nil {
				return nil, err
			}
			all, err := to.sources(id)
			if err != nil {
				return nil, err
			}
			out := &flight.FlightEndpoint{Ticket: req.GetEndpoint().GetTicket(), Location: req.GetEndpoint().GetLocation(), AppMetadata: req.GetEndpoint().GetAppMetadata()}
			for _, x := range all {
				r, stop, err := s.open(ctx, x.address, x.id, x.epoch)
				if err != nil {
					return nil, err
				}
				stop()
				if r.Snapshot == nil && to.view == nil {
					out.ExpirationTime = timestamppb.New(time.Now().Add(pool.PinTTL))
				}
			}
			b, err := proto.Marshal(out)
			return [][]byte{b}, err
		},
	}
}

func clip(s string) string {
	if len(s) > 200 {
		return s[:200] + "..."
	}
	return s
}

func (s *Server) allActions() []Action {
	return append(append(append([]Action(nil), s.o.Actions...), s.cancelAction(), s.renewAction()), s.preparedActions()...)
}
