"""The bytes: the framework's own parser reads back what was encoded, its builder agrees on bundles."""

from __future__ import annotations

import pytest

from controller import openflow
from controller.flows import desired_flows
from controller.framework import OFFLINE, ofproto, parser
from controller.pipeline import CAUSE_SHIFT, PAUSED, TABLES, drop
from tests.fake_nva_world import at_stage, routed
from tests.fake_nve import split
from wire.markers import EndMarker, decode_end_marker, encode_end_marker


def read_back(message: bytes) -> object:
    version, kind, length, xid = parser.struct.unpack("!BBHI", message[:8])
    return parser.msg_parser(OFFLINE, version, kind, length, xid, bytearray(message))


@pytest.mark.parametrize("nve", ["nve1", "nve2", "nve3"])
def test_every_flow_of_a_move_reads_back_with_its_match(nve: str) -> None:
    for stage in ("prepared", "redirected", "committed"):
        for entry in desired_flows(at_stage(stage, given=routed()), nve):
            wanted = {name: openflow._matched(value) for name, value in entry.match}
            message = read_back(openflow.with_cookie(openflow.encode_add(entry), 0xABCD))
            assert (message.table_id, message.priority) == (TABLES[entry.table].number, entry.priority)
            assert (message.cookie, message.command) == (
                entry.cause << CAUSE_SHIFT | 0xABCD,
                ofproto.OFPFC_ADD,
            )
            assert dict(message.match.items()) == wanted
            gotos = [i.table_id for i in message.instructions if hasattr(i, "table_id")]
            assert gotos == ([] if entry.goto is None else [TABLES[entry.goto].number])
            deletion = read_back(openflow.encode_delete(entry))
            assert deletion.command == ofproto.OFPFC_DELETE_STRICT
            assert dict(deletion.match.items()) == wanted


def test_bundle_and_xids_are_what_the_framework_builds() -> None:
    entry = drop("OUTPUT", 7, {"reg0": 3}, PAUSED)
    buffer = openflow.numbered(
        [*openflow.in_bundle(9, [openflow.encode_add(entry)]), *openflow.commit(9), openflow.barrier()], 100
    )
    flow_mod = parser.OFPFlowMod(
        OFFLINE,
        cookie=PAUSED << CAUSE_SHIFT,
        table_id=4,
        priority=7,
        buffer_id=ofproto.OFP_NO_BUFFER,
        out_port=ofproto.OFPP_ANY,
        out_group=ofproto.OFPG_ANY,
        match=parser.OFPMatch(reg0=3),
    )
    flags = ofproto.ONF_BF_ATOMIC | ofproto.ONF_BF_ORDERED
    built = []
    for xid, message in enumerate(
        [
            parser.ONFBundleCtrlMsg(OFFLINE, 9, ofproto.ONF_BCT_OPEN_REQUEST, flags, []),
            parser.ONFBundleAddMsg(OFFLINE, 9, flags, flow_mod, []),
            parser.ONFBundleCtrlMsg(OFFLINE, 9, ofproto.ONF_BCT_COMMIT_REQUEST, flags, []),
            parser.OFPBarrierRequest(OFFLINE),
        ],
        start=100,
    ):
        message.set_xid(xid)
        message.serialize()
        built.append(bytes(message.buf))
    assert list(split(buffer)) == built


def test_resync_deletes_every_other_cookie_and_only_those() -> None:
    bits, cookie = 4, 0b0101
    deletes = [read_back(message) for message in openflow.resync([], cookie, bits)]
    for other in range(2**bits):
        hit = any(other & d.cookie_mask == d.cookie & d.cookie_mask for d in deletes)
        assert hit == (other != cookie)


def test_end_marker_reads_back_and_nothing_else_does() -> None:
    marker = EndMarker("m1", "nve3", 2)
    frame = encode_end_marker("02:00:00:00:00:01", marker)
    assert len(frame) >= 60
    assert decode_end_marker(frame) == marker
    assert decode_end_marker(frame + bytes(20)) == marker
    for other in (b"", frame[:20], bytes(60), frame[:6] + bytes(6) + frame[12:]):
        assert decode_end_marker(other) is None
