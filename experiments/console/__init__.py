"""The interactive console and the shell in a node."""
