"""Bytes on the wire: frames, checksums, markers and packet filters. Pure: nothing here opens a socket."""
