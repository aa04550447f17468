"""The contract, line by line: a real gunicorn, driven from outside over HTTP and Socket.IO."""
