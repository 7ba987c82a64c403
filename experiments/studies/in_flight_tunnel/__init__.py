"""How large a buffer a move needs, and when the tunnel may stop."""
