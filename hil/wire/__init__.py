"""What travels between a board and the Device Cloud, without I/O: bytes in, bytes and events out."""
