"""Credentials never come out of `redact`, whatever the address looks like."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake_edge.errors import SourceError
from deepfake_edge.urls import SCHEMES, check_scheme, is_pipeline, is_url, redact


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("rtsp://10.0.0.7:554/stream1", "rtsp://10.0.0.7:554/stream1"),
        ("rtsp://admin:s3cret@10.0.0.7:554/stream1", "rtsp://***@10.0.0.7:554/stream1"),
        ("rtsp://admin@host/x", "rtsp://***@host/x"),
        ("rtsp://user:p@ss@host/x", "rtsp://***@host/x"),
        ("rtsp://user:p%40ss@host/x", "rtsp://***@host/x"),
        ("rtsp://user:p/ss@host/x", "rtsp://***"),
        ("rtsp://user:p?ss@host/x", "rtsp://***"),
        ("rtsp://user:p#ss@host/x", "rtsp://***"),
        ("rtsp://user:p ss@host/x", "rtsp://***@host/x"),
        ("RTSP://user:pass@[fe80::1%25eth0]:554/x", "RTSP://***@[fe80::1%25eth0]:554/x"),
        ("rtsp://[2001:db8::1]:554/x", "rtsp://[2001:db8::1]:554/x"),
        ("https://host/live.m3u8?token=abc&e=a@b", "https://***"),
        ("https://host/live.m3u8?token=abc", "https://host/live.m3u8?***"),
        ("https://host?token=abc", "https://host?***"),
        ("https://host/x#key", "https://host/x#***"),
        ("https://host/x#a?b", "https://host/x?***"),
        ("rtsp://host/user=admin&password=pw&channel=1/sub", "rtsp://host/***/sub"),
        ("rtsp://host/user=admin_password=pw_stream=0.sdp?real_stream", "rtsp://host/***?***"),
        ("rtmp://host/app/streamkey", "rtmp://host/***"),
        ("srt://host:9000?passphrase=abc", "srt://host:9000?***"),
        ("  rtsp://u:p@host/x ", "rtsp://***@host/x"),
        ("rtsp://u:p@host/\x1b[31m\n", "rtsp://***@host/_[31m"),
        ("user:pass@host/x", "***@host/x"),
        ("rtsp:/user:pass@host/x", "***@host/x"),
        ("clips/a@2x.mp4", "clips/a@2x.mp4"),
        ("0", "0"),
        ("rtspsrc location=rtsp://u:p@h/x user-pw=q ! rtph264depay ! appsink", "rtspsrc ! rtph264depay ! appsink"),
        ('rtspsrc location="rtsp://u:a ! SECRET ! b@h" ! appsink', "rtspsrc ! appsink"),
        ("rtspsrc location=rtsp://u:a@h ! rtsp://x:y@h ! appsink", "rtspsrc ! *** ! appsink"),
        ("rtsp://u:a ! SECRET ! b@h/x", "rtsp://***@h/x"),
        ("src !  ! appsink", "src ! *** ! appsink"),
    ],
)
def test_what_is_shown(source, shown):
    assert redact(source) == shown


_SECRET = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), min_size=6, max_size=20)


@given(_SECRET, st.sampled_from(SCHEMES))
def test_a_password_never_shows(password, scheme):
    marked = f"SECRET{password}SECRET"
    assert "SECRET" not in redact(f"{scheme}://admin:{marked}@camera.local:554/stream")


@given(_SECRET, st.sampled_from(SCHEMES))
def test_a_token_never_shows(token, scheme):
    assert "SECRET" not in redact(f"{scheme}://camera.local/stream?key=SECRET{token}SECRET")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_streams_are_taken(scheme):
    check_scheme(f"{scheme}://host/x")
    check_scheme(f"{scheme.upper()}://host/x")


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "concat:a.mp4|b.mp4",
        "pipe:0",
        "subfile,,start,0,end,0,,:x",
        "data:text/plain,x",
        "crypto:x",
        "ftp://host/x",
        "rtsp:host",
        "hls+http://u:SECRET@host/x",
    ],
)
def test_anything_else_is_refused(url):
    with pytest.raises(SourceError, match="rtsp") as caught:
        check_scheme(url)
    assert "SECRET" not in str(caught.value)


def test_kinds():
    assert is_pipeline("videotestsrc ! appsink")
    assert not is_pipeline("what!.mp4")
    assert is_url("rtsp://host/x")
    assert is_url("concat:a|b")
    assert not is_url("C:\\clips\\a.mp4")
    assert not is_url("clip.mp4")
