package server

import (
	"google.golang.org/grpc"

	"daos/server/service"
)

// GRPC is the gRPC server, for tests that walk its methods.
func (s *Server) GRPC() *grpc.Server { return s.grpc }

// Views is the service of views, and Datasets what it works on.
func (s *Server) Views() *service.Views { return s.views }
