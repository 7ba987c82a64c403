"""Encodes flows as OpenFlow 1.3 flow-mods and ONF bundles (ONF extension EXT-230).

Building a message object costs a hundred times more than sending it, so each flow is encoded once and kept as
bytes; what differs between uses (xid, cookie, command) lies at fixed offsets and is patched in.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from controller.framework import OFFLINE, ofproto, parser
from controller.pipeline import (
    CAUSE_SHIFT,
    FORWARD,
    LOCAL,
    ORIGIN,
    REASON,
    TABLES,
    TUNNEL,
    VNI,
    Action,
    CopyField,
    DecTtl,
    Flow,
    Output,
    SetField,
    ToNva,
    Value,
)

XID_OFFSET = 4
COOKIE_OFFSET = 8
COOKIE_BYTES = 8
BUNDLE_ADD_HEADER = struct.Struct("!BBHIIII2xH")
"""An ONF bundle-add up to its message: OpenFlow header, experimenter, its type, bundle id, flags."""
BUNDLE_ADD_TYPE: bytes = ofproto.ONF_ET_BUNDLE_ADD_MESSAGE.to_bytes(4, "big")
FLAGS = ofproto.ONF_BF_ATOMIC | ofproto.ONF_BF_ORDERED
COPY_BITS = {"eth_src": 48, "arp_sha": 48, "arp_spa": 32, "ipv4_src": 32, "ipv6_src": 128}


def _actions(actions: Iterable[Action]) -> Iterator[Any]:
    for action in actions:
        if isinstance(action, ToNva):
            yield parser.OFPActionSetField(**{REASON: action.reason})
            yield parser.OFPActionOutput(ofproto.OFPP_CONTROLLER, action.max_bytes)
        else:
            yield _action(action)


def _action(action: SetField | CopyField | Output | DecTtl) -> Any:
    match action:
        case DecTtl():
            return parser.OFPActionDecNwTtl()
        case SetField(name, value):
            return parser.OFPActionSetField(**{name: value})
        case CopyField(source, destination):
            bits = COPY_BITS[source]
            return parser.NXActionRegMove(src_field=source, dst_field=destination, n_bits=bits)
        case Output("in_port"):
            return parser.OFPActionOutput(ofproto.OFPP_IN_PORT)
        case Output(port):
            return parser.OFPActionOutput(port)


def _matched(value: Value) -> Any:
    """Return a match's value as the framework wants it: a subnet is an address and a mask."""
    if isinstance(value, str) and "/" in value:
        subnet = ipaddress.ip_network(value)
        return str(subnet.network_address), str(subnet.netmask)
    return value


def _serialize(message: Any) -> bytes:
    message.set_xid(0)
    message.serialize()
    return bytes(message.buf)


def _flow_mod(flow: Flow, command: int, instructions: list[Any]) -> bytes:
    return _serialize(
        parser.OFPFlowMod(
            OFFLINE,
            cookie=flow.cause << CAUSE_SHIFT,
            table_id=TABLES[flow.table].number,
            command=command,
            priority=flow.priority,
            hard_timeout=flow.hard_timeout_s,
            buffer_id=ofproto.OFP_NO_BUFFER,
            out_port=ofproto.OFPP_ANY,
            out_group=ofproto.OFPG_ANY,
            match=parser.OFPMatch(**{name: _matched(value) for name, value in flow.match}),
            instructions=instructions,
        )
    )


@lru_cache(maxsize=200_000)
def encode_add(flow: Flow) -> bytes:
    """Return the flow-mod that adds a flow, with xid 0; its cookie is the flow's cause alone."""
    instructions = []
    if flow.actions:
        actions = list(_actions(flow.actions))
        instructions.append(parser.OFPInstructionActions(ofproto.OFPIT_APPLY_ACTIONS, actions))
    if flow.goto is not None:
        instructions.append(parser.OFPInstructionGotoTable(TABLES[flow.goto].number))
    return _flow_mod(flow, ofproto.OFPFC_ADD, instructions)


@lru_cache(maxsize=200_000)
def encode_delete(flow: Flow) -> bytes:
    """Return the flow-mod that deletes exactly this entry, with xid 0; its cookie does not matter (no mask)."""
    return _flow_mod(flow, ofproto.OFPFC_DELETE_STRICT, [])


def with_cookie(flow_mod: bytes, cookie: int) -> bytes:
    """Return an adding flow-mod with another cookie below its cause."""
    low = COOKIE_OFFSET + COOKIE_BYTES - CAUSE_SHIFT // 8
    return (
        flow_mod[:low] + cookie.to_bytes(CAUSE_SHIFT // 8, "big") + flow_mod[COOKIE_OFFSET + COOKIE_BYTES :]
    )


def changes(adds: Iterable[Flow], deletes: Iterable[Flow], cookie: int) -> list[bytes]:
    """Return the flow-mods of a change, deletes first."""
    return [encode_delete(flow) for flow in deletes] + [with_cookie(encode_add(f), cookie) for f in adds]


@lru_cache(maxsize=64)
def _delete_by_cookie(cookie: int, mask: int) -> bytes:
    return _serialize(
        parser.OFPFlowMod(
            OFFLINE,
            cookie=cookie,
            cookie_mask=mask,
            table_id=ofproto.OFPTT_ALL,
            command=ofproto.OFPFC_DELETE,
            out_port=ofproto.OFPP_ANY,
            out_group=ofproto.OFPG_ANY,
            match=parser.OFPMatch(),
        )
    )


def resync(flows: Iterable[Flow], cookie: int, bits: int) -> Iterator[bytes]:
    """Yield the flow-mods that leave exactly these flows: add all, then delete what has another cookie.

    "Another cookie" is one masked delete for each of the low ``bits``: entries whose bit differs.
    """
    for flow in flows:
        yield with_cookie(encode_add(flow), cookie)
    for bit in range(bits):
        yield _delete_by_cookie(~cookie & (1 << bit), 1 << bit)


def _bundle_control(bundle_id: int, type_: int) -> bytes:
    return _serialize(parser.ONFBundleCtrlMsg(OFFLINE, bundle_id, type_, FLAGS, []))


def in_bundle(bundle_id: int, messages: Iterable[bytes]) -> list[bytes]:
    """Return the messages that open a bundle and put these into it; nothing takes effect yet."""
    wrapped = [_bundle_control(bundle_id, ofproto.ONF_BCT_OPEN_REQUEST)]
    for message in messages:
        header = BUNDLE_ADD_HEADER.pack(
            ofproto.OFP_VERSION,
            ofproto.OFPT_EXPERIMENTER,
            BUNDLE_ADD_HEADER.size + len(message),
            0,
            0x4F4E4600,  # ONF_EXPERIMENTER_ID
            ofproto.ONF_ET_BUNDLE_ADD_MESSAGE,
            bundle_id,
            FLAGS,
        )
        wrapped.append(header + message)
    return wrapped


def commit(bundle_id: int) -> list[bytes]:
    """Return the message that makes a bundle take effect."""
    return [_bundle_control(bundle_id, ofproto.ONF_BCT_COMMIT_REQUEST)]


def discard(bundle_id: int) -> list[bytes]:
    """Return the message that throws a bundle away."""
    return [_bundle_control(bundle_id, ofproto.ONF_BCT_DISCARD_REQUEST)]


@lru_cache(maxsize=1)
def barrier() -> bytes:
    """Return a barrier request."""
    return _serialize(parser.OFPBarrierRequest(OFFLINE))


def _packet_out(frame: bytes, actions: list[Any]) -> bytes:
    return _serialize(
        parser.OFPPacketOut(
            OFFLINE,
            buffer_id=ofproto.OFP_NO_BUFFER,
            in_port=ofproto.OFPP_CONTROLLER,
            actions=actions,
            data=frame,
        )
    )


def tunnel_packet_out(frame: bytes, remote_ip: str, vni: int, tunnel_port: int) -> bytes:
    """Return the packet-out that sends a frame into the tunnel to one NVE."""
    actions = [
        _action(SetField("tun_ipv4_dst", remote_ip)),
        _action(SetField("tunnel_id", vni)),
        _action(Output(tunnel_port)),
    ]
    return _packet_out(frame, actions)


def port_packet_out(frame: bytes, port: int) -> bytes:
    """Return the packet-out that sends a frame to one port."""
    return _packet_out(frame, [_action(Output(port))])


def resubmit_packet_out(frame: bytes, vni: int, table: str) -> bytes:
    """Return the packet-out that lets an NVE treat a frame as if a VM of a network here had sent it.

    ``table`` is where it begins: FORWARD for a known MAC, RESOLVE for what is to be routed.
    """
    actions = [
        _action(SetField(VNI, vni)),
        _action(SetField(ORIGIN, LOCAL)),
        parser.NXActionResubmitTable(ofproto.OFPP_IN_PORT & 0xFFFF, TABLES[table].number),
    ]
    return _packet_out(frame, actions)


def packet_in_limit(rate_pps: int) -> list[bytes]:
    """Return the messages that set how many frames a second an NVE may send to the NVA, all reasons together.

    It is Open vSwitch's virtual meter "controller": only the copy to the NVA is dropped. A meter outlives
    flows and connections, so the old one goes first.
    """
    flags = ofproto.OFPMF_PKTPS | ofproto.OFPMF_BURST
    bands = [parser.OFPMeterBandDrop(rate=rate_pps, burst_size=max(10, rate_pps // 5))]
    meter = ofproto.OFPM_CONTROLLER
    return [
        _serialize(parser.OFPMeterMod(OFFLINE, ofproto.OFPMC_DELETE, flags, meter, [])),
        _serialize(parser.OFPMeterMod(OFFLINE, ofproto.OFPMC_ADD, flags, meter, bands)),
    ]


def count_request(vni: int, mac: str) -> bytes:
    """Return the question for the counters of FORWARD's flows for what comes from tunnels to a MAC."""
    return _serialize(
        parser.OFPFlowStatsRequest(
            OFFLINE,
            0,
            TABLES[FORWARD].number,
            ofproto.OFPP_ANY,
            ofproto.OFPG_ANY,
            0,
            0,
            parser.OFPMatch(**{VNI: vni, ORIGIN: TUNNEL, "eth_dst": mac}),
        )
    )


def numbered(messages: Sequence[bytes], first_xid: int) -> bytes:
    """Join messages into one buffer with consecutive xids; a bundled message gets its wrapper's xid."""
    joined = bytearray().join(messages)
    offset, xid = 0, first_xid
    for message in messages:
        struct.pack_into("!I", joined, offset + XID_OFFSET, xid)
        if message[1] == ofproto.OFPT_EXPERIMENTER and _is_bundle_add(message):
            struct.pack_into("!I", joined, offset + BUNDLE_ADD_HEADER.size + XID_OFFSET, xid)
        offset += len(message)
        xid += 1
    return bytes(joined)


def _is_bundle_add(message: bytes) -> bool:
    return message[12:16] == BUNDLE_ADD_TYPE
