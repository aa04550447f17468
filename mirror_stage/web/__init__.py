"""What all REST routes and sockets share: bodies, schemas, answers, the walls in front of them, Socket.IO."""
