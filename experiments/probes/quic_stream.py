"""One end of a QUIC connection (aioquic) that carries one stream in one direction; the receiver logs every read.

Roles, directions and log are those of ``tcp_stream.c``. The server makes its certificate at its start; the client takes
any, since nobody else is on these networks. Both stacks are processes, so a VM that stands still takes its timers
with it. Its congestion control is aioquic's default (NewReno, RFC 9002 section 7).
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import signal
import ssl
import sys
import time
from pathlib import Path

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted, QuicEvent, StreamDataReceived
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from experiments.probes.log_format import IntegerLog
from experiments.probes.script import ENDING, finish, sleep_precisely

ALPN = "overland"
NAME = "overland.invalid"
COUNTERS = ("cpu_ns", "broken_error", "passed_bytes", "last_ns", "ended_ns")


def configuration(role: str) -> QuicConfiguration:
    """Of a client that believes any certificate, or of a server with one made now (valid for a day)."""
    made = QuicConfiguration(is_client=role == "client", alpn_protocols=[ALPN])
    if made.is_client:
        made.verify_mode, made.server_name = ssl.CERT_NONE, NAME
        return made
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - day).not_valid_after(now + day)
    made.certificate, made.private_key = builder.sign(key, hashes.SHA256()), key
    return made


class Stream:
    """What one end does: it waits for its connection, then sends, or logs what it reads."""

    def __init__(self, options: argparse.Namespace, log: IntegerLog) -> None:
        self.options, self.log = options, log
        self.connected: asyncio.Future[QuicConnectionProtocol] = asyncio.get_running_loop().create_future()

    def end(self, quic: QuicConnection, **_known: object) -> QuicConnectionProtocol:
        """A new connection's end of this stream."""
        return _End(self, quic)

    async def client(self) -> None:
        """Connect; the log appears after the handshake. ConnectionError or TimeoutError when that does not come."""
        six = ":" in self.options.address
        _, end = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: self.end(QuicConnection(configuration=configuration("client"))),
            local_addr=("::" if six else "0.0.0.0", 0),
        )
        end.connect((self.options.address, self.options.port, *((0, 0) if six else ())))
        await asyncio.wait_for(asyncio.shield(self.connected), self.options.connect_timeout)
        self.log.announce()

    async def server(self) -> None:
        """Listen; the log appears then."""
        await serve(
            self.options.address,
            self.options.port,
            configuration=configuration("server"),
            create_protocol=self.end,
        )
        self.log.announce()

    async def send(self) -> None:
        """Offer blocks like an application with a constant rate; what cannot go yet waits in the stream."""
        end = await self.connected
        stream = end._quic.get_next_available_stream_id(is_unidirectional=True)
        block_bytes = self.options.block_bytes
        blocks_per_s = self.options.rate_bps / 8 / block_bytes
        start_s, sent = time.monotonic(), 0
        while True:
            await asyncio.sleep(max(start_s + (sent + 1) / blocks_per_s - time.monotonic(), 0.0))
            due = int((time.monotonic() - start_s) * blocks_per_s) - sent
            if due > 0:
                self.log.show("passed_bytes", (sent + due) * block_bytes)
                end._quic.send_stream_data(stream, bytes(due * block_bytes))
                end.transmit()
                self.log.values.extend((time.monotonic_ns(), due * block_bytes))
                sent += due


class _End(QuicConnectionProtocol):
    def __init__(self, stream: Stream, quic: QuicConnection) -> None:
        super().__init__(quic)
        self._stream = stream

    def quic_event_received(self, event: QuicEvent) -> None:
        """Log what came; say when the connection stands or has ended."""
        stream = self._stream
        if isinstance(event, StreamDataReceived):
            if event.data:
                now_ns, log = time.monotonic_ns(), stream.log
                log.values.extend((now_ns, len(event.data)))
                log.show("passed_bytes", log.counters["passed_bytes"] + len(event.data))
                log.show("last_ns", now_ns)
        elif isinstance(event, HandshakeCompleted):
            if not stream.connected.done():
                stream.connected.set_result(self)
        elif isinstance(event, ConnectionTerminated):
            stream.log.show("broken_error", event.error_code)  # a result, not a failure of the probe
            stream.log.show("ended_ns", time.monotonic_ns())
            if not stream.connected.done():
                stream.connected.set_exception(ConnectionError(event.reason_phrase or "the handshake failed"))


async def work(options: argparse.Namespace, log: IntegerLog) -> None:
    """Be one end until SIGTERM or SIGINT."""
    ended = asyncio.Event()
    for number in ENDING:
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    stream = Stream(options, log)
    await (stream.client() if options.role == "client" else stream.server())
    sending = asyncio.create_task(stream.send()) if options.direction == "send" else None
    await ended.wait()
    for number in ENDING:  # nothing may interrupt the writing of the log
        signal.signal(number, signal.SIG_IGN)
    if sending is not None:
        sending.cancel()


def parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(
        prog="quic_stream", description=__doc__.splitlines()[0] if __doc__ else None
    )
    arguments.add_argument("role", choices=("server", "client"))
    arguments.add_argument("direction", choices=("send", "receive"))
    arguments.add_argument("--address", required=True, help="to listen on (server) or to connect to (client)")
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--out", type=Path, required=True, help="the log")
    arguments.add_argument("--rate-bps", type=float, required=True, help="of the sender; above 0")
    arguments.add_argument("--block-bytes", type=int, default=1200)
    arguments.add_argument("--connect-timeout", type=float, default=10.0, help="in seconds")
    return arguments


def main() -> int:
    """Run one end; return 0, or 1 with a line on stderr when the connection cannot be made."""
    options = parser().parse_args()
    log = IntegerLog(options.out, ("t_ns", "bytes"), COUNTERS)
    sleep_precisely()
    try:
        asyncio.run(work(options, log))
    except (OSError, TimeoutError) as error:
        place = f"{options.address} port {options.port}"
        print(f"quic_stream {options.role}: {place}: {error or 'no handshake'}", file=sys.stderr)
        return 1
    finish(log)
    return 0


if __name__ == "__main__":
    sys.exit(main())
