"""All NVEs together: two-phase changes over them, and a full resync of each one that connects."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import Any, NamedTuple

from controller import openflow
from controller.events import EventHub
from controller.framework import EXPERIMENTER_ERROR, error_name
from controller.journal import EPOCH_BITS
from controller.pipeline import Flow
from controller.session import NveGoneError, Reply, Session

ANSWER_WITHIN_S = 2.0
"""How long an NVE may take to answer one phase; about 100 times what 50 NVEs on one host took."""

RESYNC_BATCH = 8
NOBODY: Mapping[str, int] = {}


class FabricError(Exception):
    """A change that did not go through; ``data`` says for each NVE why."""

    def __init__(self, message: str, **data: Any) -> None:
        super().__init__(message)
        self.data = data


class UnreachableError(FabricError):
    """An NVE that is needed is not there or did not answer in time; nothing was changed anywhere."""


class RejectedError(FabricError):
    """An NVE refused a flow; nothing was changed anywhere."""


class PartlyCommittedError(FabricError):
    """The change stands, but an NVE was away: it gets the change when it returns."""


@dataclass(frozen=True)
class Change:
    """What is to change at one NVE; ``undo`` is the same the other way round."""

    nve: str
    dpid: int
    adds: frozenset[Flow]
    deletes: frozenset[Flow]
    undo: tuple[frozenset[Flow], frozenset[Flow]]

    @property
    def flow_mods(self) -> int:
        """Number of flow-mods."""
        return len(self.adds) + len(self.deletes)


@dataclass
class _Sent:
    change: Change
    session: Session
    bundle_id: int
    future: Future[Reply]
    reply: Reply | None = None
    problem: str | None = None


class Desired(NamedTuple):
    """What an NVE is to have: its name, its flows, and how many frames a second it may send to the NVA."""

    nve: str
    flows: frozenset[Flow]
    packet_in_limit_pps: int


Timing = dict[str, dict[str, Any]]


class Applied(NamedTuple):
    """What became of a change: the timing of each NVE, and why those that have not got it (yet) have not."""

    timing: Timing
    missing: dict[str, str]


class Fabric:
    """The connected NVEs. ``lock`` makes changes and resyncs one at a time."""

    def __init__(
        self,
        events: EventHub,
        now: Callable[[], float],
        next_epoch: Callable[[], int],
        desired: Callable[[int], Desired | None],
        fault: Callable[[BaseException], None],
        answer_within_s: float = ANSWER_WITHIN_S,
    ) -> None:
        self.lock = threading.RLock()
        self.changed = threading.Condition()
        self._events = events
        self._now = now
        self._next_epoch = next_epoch
        self._desired = desired
        self._fault = fault
        self.answer_within_s = answer_within_s
        self._sessions: dict[int, Session] = {}
        self._to_resync: queue.SimpleQueue[Session] = queue.SimpleQueue()
        threading.Thread(target=self._resync_loop, name="resync", daemon=True).start()

    def session(self, dpid: int) -> Session | None:
        """Return the NVE's current connection."""
        return self._sessions.get(dpid)

    def dpids(self) -> list[int]:
        """Return the datapath ids of all connected NVEs, known or not."""
        return sorted(self._sessions)

    def connected(self, session: Session) -> None:
        """Take a new connection, perhaps before the old one's end was seen, and have it programmed."""
        before = self._sessions.get(session.dpid)
        self._sessions[session.dpid] = session
        if before is not None:
            before.on_gone()
        self._to_resync.put(session)
        self._notify()

    def gone(self, session: Session) -> bool:
        """Take the end of a connection; False when a newer one has replaced it."""
        session.on_gone()
        if self._sessions.get(session.dpid) is not session:
            return False
        del self._sessions[session.dpid]
        self._notify()
        return True

    def resync_all(self) -> None:
        """Have every NVE programmed anew."""
        for session in list(self._sessions.values()):
            session.programmed_s = None
            self._to_resync.put(session)

    def _notify(self) -> None:
        with self.changed:
            self.changed.notify_all()

    # Changes

    def apply(
        self,
        operation: str,
        changes: Sequence[Change],
        before_commit: Callable[[], None],
        need_all: bool,
        asked: Mapping[str, int] = NOBODY,
    ) -> Applied:
        """Make changes on all NVEs that answer, or on none when one refuses its own (RejectedError).

        Prepare everywhere, then ``before_commit``, then commit everywhere. An NVE that is away or silent is left
        out; it is programmed when it returns. With ``need_all`` it stops the change instead (UnreachableError),
        and so does one of ``asked`` (NVE -> datapath id), which are to answer although nothing changes there yet.
        """
        with self.lock:
            there = [c for c in changes if self.absence(c.dpid) is None]
            missing = self._absent({c.nve: c.dpid for c in changes} | dict(asked))
            if missing and need_all:
                raise self._unreachable(operation, missing)
            answers = {nve: self._sessions[dpid] for nve, dpid in asked.items() if nve not in missing}
            futures = {nve: session.submit([]) for nve, session in answers.items()}
            end_s = self._now() + self.answer_within_s
            sent = [self._prepare(change) for change in there]
            missing |= self._collect(sent, "prepare", operation)
            missing |= self._silent(answers, futures, end_s)
            self._check_prepared(sent, operation, missing if need_all else {})
            sent = [item for item in sent if item.problem is None]
            before_commit()
            for item in sent:
                item.future = item.session.submit(openflow.commit(item.bundle_id))
            prepared = {item.change.nve: item.reply.at_s for item in sent if item.reply}
            missing |= self._collect(sent, "commit", operation)
            timing: Timing = {
                c.nve: {"flow_mods": c.flow_mods, "prepared_s": prepared.get(c.nve), "committed_s": None}
                for c in changes
            }
            for item in sent:
                if item.reply is not None:
                    timing[item.change.nve]["committed_s"] = item.reply.at_s
                    item.session.flows += len(item.change.adds) - len(item.change.undo[0])
            self._check_committed(sent, operation)
            return Applied(timing, missing)

    def absence(self, dpid: int) -> str | None:
        """Return why an NVE cannot be programmed now; None: it is there and has all its flows."""
        session = self._sessions.get(dpid)
        if session is None:
            return "not connected"
        if session.programmed_s is None:
            return session.problem or "connected, not yet programmed"
        return None

    def _absent(self, nves: Mapping[str, int]) -> dict[str, str]:
        found = {nve: self.absence(dpid) for nve, dpid in nves.items()}
        return {nve: why for nve, why in found.items() if why is not None}

    def _silent(
        self, asked: Mapping[str, Session], futures: Mapping[str, Future[Reply]], end_s: float
    ) -> dict[str, str]:
        """Return which of the asked NVEs do not answer; their connection is ended."""
        silent = {}
        for nve, future in futures.items():
            try:
                future.result(max(0.0, end_s - self._now()))
            except NveGoneError:
                silent[nve] = "its connection ended"
            except FutureTimeoutError:
                silent[nve] = f"no answer within {self.answer_within_s:g} s"
                asked[nve].close()
        return silent

    @staticmethod
    def _unreachable(operation: str, problems: dict[str, str]) -> UnreachableError:
        shown = ", ".join(f"{nve} ({why})" for nve, why in sorted(problems.items()))
        return UnreachableError(
            f"{operation}: nothing was changed, because of NVE {shown}; bring its ovs-vswitchd and its way to the "
            "NVA back, wait until it is programmed, then try again",
            nves=problems,
        )

    def _prepare(self, change: Change) -> _Sent:
        session = self._sessions[change.dpid]
        bundle_id = session.next_bundle_id()
        mods = openflow.changes(change.adds, change.deletes, session.cookie)
        future = session.submit(openflow.in_bundle(bundle_id, mods))
        self._events.publish("flow_mods", nve=change.nve, count=change.flow_mods)
        return _Sent(change, session, bundle_id, future)

    def _collect(self, sent: Sequence[_Sent], step: str, operation: str) -> dict[str, str]:
        """Wait for the answers to a step; which NVEs have not given one, and why. Their connection is ended."""
        end_s = self._now() + self.answer_within_s
        for item in sent:
            item.reply, item.problem = None, None
            try:
                reply = item.future.result(max(0.0, end_s - self._now()))
            except NveGoneError:
                item.problem = f"its connection ended during {step}"
                continue
            except FutureTimeoutError:
                item.problem = f"no answer to {step} within {self.answer_within_s:g} s"
                item.session.close()
                continue
            item.reply = reply
            name = item.change.nve
            self._events.publish("barrier", reply.at_s, nve=name, step=step, operation=operation)
        return {item.change.nve: item.problem for item in sent if item.problem is not None}

    def _check_prepared(self, sent: Sequence[_Sent], operation: str, missing: dict[str, str]) -> None:
        # A message refused while the bundle is filled does not stop a commit of the others: look first.
        refused = _refusals(sent)
        if not missing and not refused:
            return
        for item in sent:
            if item.problem is None:
                item.session.submit(openflow.discard(item.bundle_id))
        if refused:
            raise _rejected(operation, refused)
        raise self._unreachable(operation, missing)

    def _check_committed(self, sent: Sequence[_Sent], operation: str) -> None:
        refused = _refusals(sent)
        if refused:
            for item in sent:
                if item.change.nve not in refused and item.problem is None:
                    self._take_back(item)
            raise _rejected(operation, refused)

    def _take_back(self, item: _Sent) -> None:
        adds, deletes = item.change.undo
        bundle_id = item.session.next_bundle_id()
        mods = openflow.changes(adds, deletes, item.session.cookie)
        messages = [*openflow.in_bundle(bundle_id, mods), *openflow.commit(bundle_id)]
        try:
            reply = item.session.submit(messages).result(self.answer_within_s)
        except (NveGoneError, FutureTimeoutError):
            reply = None
        if reply is None or reply.errors:
            item.session.close()  # it comes back and is resynced
        else:
            item.session.flows -= len(item.change.adds) - len(adds)

    def packet_out(self, dpid: int, messages: Sequence[bytes]) -> Future[Reply] | None:
        """Send messages to one NVE now; None when it is not there."""
        session = self._sessions.get(dpid)
        return None if session is None else session.submit(messages)

    # Resync

    def _resync_loop(self) -> None:
        while True:
            batch = [self._to_resync.get()]
            while len(batch) < RESYNC_BATCH and not self._to_resync.empty():
                batch.append(self._to_resync.get())
            try:
                with self.lock:
                    self._resync(batch)
            except Exception as error:
                self._fault(error)

    def _limit(self, nve: str, session: Session, limit_pps: int) -> None:
        """Set the packet-in limit; a switch that has no meters goes on without, and watchers are told."""

        def answered(future: Future[Reply]) -> None:
            if future.exception() is None and future.result().errors:
                first = future.result().errors[0]
                why = error_name(first.type, first.code)
                self._events.publish("note", text=f"NVE {nve} does not limit what it sends to the NVA: {why}")

        session.submit(openflow.packet_in_limit(limit_pps)).add_done_callback(answered)

    def _resync(self, batch: Sequence[Session]) -> None:
        sent = []
        for session in dict.fromkeys(batch):
            wanted = self._desired(session.dpid)
            if wanted is None or self._sessions.get(session.dpid) is not session:
                continue
            nve, flows, limit_pps = wanted
            session.cookie = self._next_epoch()
            session.flows = len(flows)
            self._limit(nve, session, limit_pps)
            bundle_id = session.next_bundle_id()
            mods = list(openflow.resync(flows, session.cookie, EPOCH_BITS))
            future = session.submit(openflow.in_bundle(bundle_id, mods))
            self._events.publish("flow_mods", nve=nve, count=len(mods))
            none = (frozenset[Flow](), frozenset[Flow]())
            sent.append(
                _Sent(Change(nve, session.dpid, flows, frozenset(), none), session, bundle_id, future)
            )
        self._collect(sent, "prepare", "resync")
        refused = _refusals(sent)
        good = [i for i in sent if i.problem is None and i.change.nve not in refused]
        for item in sent:
            if item.change.nve in refused:
                item.session.problem = f"refused its flows: {refused[item.change.nve]}"
                item.session.submit(openflow.discard(item.bundle_id))
                self._events.publish("note", text=f"NVE {item.change.nve} {item.session.problem}")
        for item in good:
            item.future = item.session.submit(openflow.commit(item.bundle_id))
        self._collect(good, "commit", "resync")
        failed = _refusals(good)
        for item in good:
            if item.reply is not None and item.change.nve not in failed:
                item.session.problem = None
                item.session.programmed_s = item.reply.at_s
            elif item.change.nve in failed:
                item.session.problem = f"could not commit its flows: {failed[item.change.nve]}"
        self._notify()


def _refusals(sent: Sequence[_Sent]) -> dict[str, str]:
    found = {}
    for item in sent:
        if item.reply is not None and item.reply.errors:
            # At a commit the bundle's own error only says that there is another one: that is the reason.
            errors = sorted(item.reply.errors, key=lambda error: error.type == EXPERIMENTER_ERROR)
            first = errors[0]
            where = f"message {first.index}: " if first.index > 0 else ""
            found[item.change.nve] = where + error_name(first.type, first.code)
    return found


def partly(operation: str, missing: Mapping[str, str]) -> PartlyCommittedError:
    """Return the error that says at which NVEs a change that stands is still to be made."""
    shown = ", ".join(f"{nve} ({why})" for nve, why in sorted(missing.items()))
    return PartlyCommittedError(
        f"{operation}: done everywhere but at NVE {shown}; it gets the change when it is connected again",
        nves=dict(missing),
    )


def _rejected(operation: str, refused: dict[str, str]) -> RejectedError:
    shown = ", ".join(f"{nve} ({why})" for nve, why in sorted(refused.items()))
    return RejectedError(
        f"{operation}: nothing was changed, NVE {shown} refused a flow; compare with `ovs-ofctl dump-flows`",
        nves=refused,
    )
