"""An RTSP server on 127.0.0.1 for trying live sources; run with a Python that has GStreamer's `gi`.

    python3 tests/rtsp_server.py --port 8554 [--frames 'DIR/%04d.jpg'] [--user NAME --password WORD] [--clock]

It shows a moving ball, or the numbered pictures in a loop, at rtsp://127.0.0.1:PORT/live, and prints `ready`.
`--clock` paints the monotonic clock's milliseconds into each picture's top left corner before it is encoded, as 40
bits of CELL x CELL pixels, so that a reader on the same machine can tell how old a picture is.
"""

from __future__ import annotations

import argparse
import ctypes
import sys
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

CELL = 16
BITS = 40
GST = ctypes.CDLL("libgstreamer-1.0.so.0")


class MapInfo(ctypes.Structure):
    """The beginning of a GstMapInfo, and room for the rest."""

    _fields_ = (
        ("memory", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("data", ctypes.c_void_p),
        ("rest", ctypes.c_uint64 * 16),
    )


def paint_clock(pad, info, width):
    """Write the clock into the luma plane of an I420 buffer."""
    buffer = info.get_buffer()
    now_ms = int(time.monotonic() * 1000)
    bits = [(now_ms >> place) & 1 for place in reversed(range(BITS))]
    row = b"".join((b"\xeb" if bit else b"\x10") * CELL for bit in bits)
    # Python's bindings map only for reading, and their reference makes the buffer, but not its memory, read-only.
    memory, view = ctypes.c_void_p(hash(buffer.peek_memory(0))), MapInfo()
    if GST.gst_memory_map(memory, ctypes.byref(view), ctypes.c_int(Gst.MapFlags.WRITE)):
        for line in range(CELL):
            ctypes.memmove(view.data + line * width, row, len(row))
        GST.gst_memory_unmap(memory, ctypes.byref(view))
    return Gst.PadProbeReturn.OK


def picture_source(arguments):
    if arguments.frames:
        caps = f"image/jpeg,framerate={arguments.fps}/1"
        return f'multifilesrc location="{arguments.frames}" loop=true caps="{caps}" ! jpegdec ! videoconvert'
    return "videotestsrc pattern=ball is-live=true"


def make_factory(arguments):
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(
        f"( {picture_source(arguments)} "
        f"! video/x-raw,format=I420,width={arguments.width},height={arguments.height},framerate={arguments.fps}/1 "
        "! identity name=clock sync=true ! x264enc tune=zerolatency speed-preset=ultrafast "
        f"key-int-max={arguments.fps} bitrate=3000 ! rtph264pay name=pay0 pt=96 config-interval=1 )"
    )
    factory.set_shared(True)
    if arguments.clock:
        factory.connect(
            "media-configure",
            lambda _, media: (
                media.get_element()
                .get_by_name("clock")
                .get_static_pad("src")
                .add_probe(Gst.PadProbeType.BUFFER, paint_clock, arguments.width)
            ),
        )
    return factory


def require_password(server, factory, user, password):
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string(GstRtspServer.RTSP_TOKEN_MEDIA_FACTORY_ROLE, "viewer")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role("viewer", GstRtspServer.RTSP_PERM_MEDIA_FACTORY_ACCESS, True)
    permissions.add_permission_for_role("viewer", GstRtspServer.RTSP_PERM_MEDIA_FACTORY_CONSTRUCT, True)
    factory.set_permissions(permissions)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", default="8554")
    parser.add_argument("--frames")
    parser.add_argument("--fps", type=int, default=25)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=360)
    parser.add_argument("--user")
    parser.add_argument("--password", default="")
    parser.add_argument("--clock", action="store_true")
    arguments = parser.parse_args()
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(arguments.port)
    factory = make_factory(arguments)
    if arguments.user:
        require_password(server, factory, arguments.user, arguments.password)
    server.get_mount_points().add_factory("/live", factory)
    if server.attach(None) == 0:
        raise SystemExit(f"port {arguments.port} is taken")
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
