package server

import "google.golang.org/grpc"

// GRPC is the gRPC server, for tests that walk its methods.
func (s *Server) GRPC() *grpc.Server { return s.grpc }
