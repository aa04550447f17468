"""The database, SQLite or PostgreSQL: reads, writes, migrations, backups and the lock of its owner."""
