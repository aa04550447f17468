"""What every REST route and socket shares: bodies, schemas, answers, the walls in front of them, Socket.IO."""
