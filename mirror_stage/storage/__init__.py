"""One door for every write and one for every read, over SQLite or PostgreSQL."""
