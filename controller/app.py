"""The app the framework runs: turns its events into calls of :class:`controller.service.Nva`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar

from controller import framework
from controller.packet_in import PacketIn
from controller.pipeline import REASON, VNI
from controller.service import Nva
from controller.session import FlowCount, Session


def guarded(handler: Callable[..., None]) -> Callable[..., None]:
    """Make an exception in a handler end the NVA.

    Without this the framework's event thread ends, or only logs, and the app goes on deaf.
    """

    @functools.wraps(handler)
    def wrapper(app: NvaApp, event: Any) -> None:
        try:
            handler(app, event)
        except Exception as error:
            app.nva.fault(error)

    return wrapper


PORT_CHANGES = {framework.ofproto.OFPPR_ADD: "added", framework.ofproto.OFPPR_DELETE: "removed"}


class NvaApp(framework.App):  # type: ignore[misc] # the framework ships no types
    """One app per process; :attr:`nva` is set before the framework makes it."""

    OFP_VERSIONS: ClassVar[list[int]] = [framework.ofproto.OFP_VERSION]
    nva: ClassVar[Nva]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sessions: dict[Any, Session] = {}

    @framework.on("state")
    @guarded
    def on_state(self, event: Any) -> None:
        """A connection is up (features known) or has ended. The key is the connection, not the dpid."""
        datapath = event.datapath
        if event.state == framework.MAIN:
            session = Session(datapath.id, datapath.send, datapath.close, self.nva.now)
            self._sessions[datapath] = session
            self.nva.nve_connected(session)
        elif (gone := self._sessions.pop(datapath, None)) is not None:
            self.nva.nve_gone(gone)

    @framework.on("barrier")
    @guarded
    def on_barrier(self, event: Any) -> None:
        """A barrier reply."""
        session = self._sessions.get(event.msg.datapath)
        if session is not None:
            session.on_barrier(event.msg.xid)

    @framework.on("error")
    @guarded
    def on_error(self, event: Any) -> None:
        """An error message: the caller of what it answers deals with it; a stray one is told to watchers."""
        message = event.msg
        session = self._sessions.get(message.datapath)
        code = message.exp_type if message.type == framework.EXPERIMENTER_ERROR else message.code
        if session is None or not session.on_error(message.xid, message.type, code):
            name = framework.error_name(message.type, code)
            self.nva.events.publish("note", text=f"OpenFlow error nobody waits for: {name}")

    @framework.on("counts")
    @guarded
    def on_counts(self, event: Any) -> None:
        """Counters of flows."""
        message = event.msg
        session = self._sessions.get(message.datapath)
        if session is not None:
            counts = [FlowCount(s.priority, dict(s.match.items()), s.packet_count) for s in message.body]
            session.on_counts(message.xid, counts, bool(message.flags & framework.ofproto.OFPMPF_REPLY_MORE))

    @framework.on("port_status")
    @guarded
    def on_port_status(self, event: Any) -> None:
        """A port of an NVE has come, gone or changed."""
        message = event.msg
        session = self._sessions.get(message.datapath)
        if session is not None:
            name = bytes(message.desc.name).rstrip(b"\0").decode(errors="replace")
            up = not message.desc.state & framework.ofproto.OFPPS_LINK_DOWN
            self.nva.port_changed(session.dpid, name, PORT_CHANGES.get(message.reason, "changed"), up)

    @framework.on("packet_in")
    @guarded
    def on_packet_in(self, event: Any) -> None:
        """A frame for the NVA."""
        message = event.msg
        match = message.match
        packet = PacketIn(
            message.datapath.id,
            match["in_port"],
            bytes(message.data),
            match.get(REASON, 0),
            match.get(VNI, 0),
            match.get("tun_ipv4_src"),
            self.nva.now(),
        )
        self.nva.packet_in(packet)
