"""The processes that used most of each host, minute by minute, for as long as samples are kept."""
