"""The OpenFlow framework: the only file that names os-ken and Ryu.

``OF_FRAMEWORK=ryu`` runs the same app on stock Ryu 4.34; the default is os-ken with native threads. Start-up
is our own, because ``osken-manager`` is gone and the stock ``run_apps`` cannot be ended cleanly.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

NAME = os.environ.get("OF_FRAMEWORK", "os_ken")
if NAME not in ("os_ken", "ryu"):
    raise ImportError(f"OF_FRAMEWORK={NAME!r}: must be os_ken or ryu")

if NAME == "ryu":
    import eventlet
    import eventlet.wsgi

    eventlet.monkey_patch()
    # Ryu 4.34 imports this name from eventlet, which dropped it; Ryu only ever compares with it.
    eventlet.wsgi.ALREADY_HANDLED = object()


def _module(name: str) -> Any:
    return importlib.import_module(f"{NAME}.{name}")


_cfg = _module("cfg")
_app_manager = _module("base.app_manager")
_controller = _module("controller.controller")
_handler = _module("controller.handler")
_ofp_event = _module("controller.ofp_event")
_protocol = _module("ofproto.ofproto_protocol")
ofproto: Any = _module("ofproto.ofproto_v1_3")
parser: Any = _module("ofproto.ofproto_v1_3_parser")


def _know_nd_fields() -> None:
    """Add two fields of Open vSwitch that the framework lacks: a neighbour message's flags and option type.

    OXM class 0x1000 ("ERICOXM_OF"), numbers 1 and 2 in Open vSwitch's meta-flow.h.
    """
    oxm_fields, types = _module("ofproto.oxm_fields"), _module("lib.type_desc")

    base: Any = oxm_fields._OxmClass

    class EricssonExtension(base):  # type: ignore[misc] # the framework ships no types
        _class = 0x1000

    ofproto.oxm_types += [
        EricssonExtension("nd_reserved", 1, types.Int4),
        EricssonExtension("nd_options_type", 2, types.Int1),
    ]
    oxm_fields.generate(ofproto.__name__)


_know_nd_fields()

App: Any = _app_manager.OSKenApp if NAME == "os_ken" else _app_manager.RyuApp
"""Base class of an app. The framework takes the first App class of a module: one app a module."""

OFFLINE: Any = _protocol.ProtocolDesc(version=ofproto.OFP_VERSION)
"""Stands for a switch where a message is built that several switches will get."""

MAIN = _handler.MAIN_DISPATCHER
DEAD = _handler.DEAD_DISPATCHER

EVENTS = {
    "state": (_ofp_event.EventOFPStateChange, [MAIN, DEAD]),
    "barrier": (_ofp_event.EventOFPBarrierReply, [MAIN]),
    "error": (_ofp_event.EventOFPErrorMsg, [MAIN]),
    "counts": (_ofp_event.EventOFPFlowStatsReply, [MAIN]),
    "port_status": (_ofp_event.EventOFPPortStatus, [MAIN]),
    "packet_in": (_ofp_event.EventOFPPacketIn, [MAIN]),
}


LISTEN_TIMEOUT_S = 5.0
EXPERIMENTER_ERROR: int = ofproto.OFPET_EXPERIMENTER


def on(event: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return the decorator that makes an app's method the handler of an event of :data:`EVENTS`."""
    cls, states = EVENTS[event]
    decorator: Callable[[Callable[..., None]], Callable[..., None]] = _handler.set_ev_cls(cls, states)
    return decorator


def error_name(type_: int, code: int) -> str:
    """Return an OpenFlow error in words as far as the framework knows them.

    For an experimenter error (all of ONF's bundle errors are) ``code`` is its experimenter type.
    """
    if type_ == EXPERIMENTER_ERROR:
        names = [
            name for name, value in vars(ofproto).items() if name.startswith("ONFERR_") and value == code
        ]
        return names[0] if names else f"experimenter error {code}"
    to_type = getattr(ofproto, "ofp_error_type_to_str", None)
    to_code = getattr(ofproto, "ofp_error_code_to_str", None)
    if to_type is None or to_code is None:
        return f"error type {type_} code {code}"
    return f"{to_type(type_)} {to_code(type_, code)}"


def _report_dead_at_once() -> None:
    """Make a connection that ended reach DEAD at once.

    The receive loop of the native hub just returns when the socket ends, and its ``serve`` then waits for a
    send thread that nothing wakes: without this the app would only learn of it by unanswered echo requests.
    """
    original = _controller.Datapath._recv_loop

    def _recv_loop(datapath: Any) -> None:
        try:
            original(datapath)
        finally:
            datapath.set_state(DEAD)
            send_queue = datapath.send_q
            if send_queue is not None:
                send_queue.put((b"", True))

    _controller.Datapath._recv_loop = _recv_loop


def _report_listening() -> Future[None]:
    """Return what becomes of the listening socket: the framework opens it in a thread and tells nobody."""
    outcome: Future[None] = Future()

    base: Any = _controller.StreamServer

    class Listener(base):  # type: ignore[misc] # the framework ships no types
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            try:
                super().__init__(*args, **kwargs)
            except OSError as error:
                outcome.set_exception(error)
                raise SystemExit from error  # ends this thread without a traceback
            outcome.set_result(None)

    _controller.StreamServer = Listener
    return outcome


def start(host: str, port: int, app_module: str, answer_within_s: float) -> Any:
    """Listen for NVEs and start the app class of a module; returns the app. The caller's thread goes on.

    ``answer_within_s``: of an NVE that has not answered one and a half times as long the connection is ended.

    Raises OSError when the address cannot be listened on.
    """
    _report_dead_at_once()
    listening = _report_listening()
    _cfg.CONF(
        ["--ofp-listen-host", host, "--ofp-tcp-listen-port", str(port)],
        project="overland",
        prog="overland-nva",
        default_config_files=[],  # else a file in the user's home would change the NVA
    )
    # Off by default, and not command line options: a hung NVE is DEAD after interval x (unreplied + 1).
    _cfg.CONF.set_override("echo_request_interval", answer_within_s / 2)
    _cfg.CONF.set_override("maximum_unreplied_echo_requests", 2)
    manager = _app_manager.AppManager.get_instance()
    manager.load_apps([f"{NAME}.controller.ofp_handler", app_module])
    contexts = manager.create_contexts()
    manager.instantiate_apps(**contexts)
    try:
        listening.result(LISTEN_TIMEOUT_S)
    except OSError as error:
        raise OSError(
            f"listening on {host}:{port}: {error.strerror}; use another --listen or --port"
        ) from error
    return manager.applications[manager.applications_cls[app_module].__name__]


def dead_threads(app: Any) -> int:
    """Return how many of an app's event threads have ended; 0 on Ryu, whose green threads do not say."""
    return sum(1 for thread in app.threads if hasattr(thread, "is_alive") and not thread.is_alive())
