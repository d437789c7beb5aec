"""The watch over the network: a connection is seen, what is none is not taken for one, and blindness is told."""

import os
import shutil
import sys

import devenv
import pytest
import watch_network

LINES = {
    '7 connect(3, {sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("10.0.0.1")}, 16) = -1 EINPROGRESS': True,
    '7 sendto(4, "", 0, 0, {sa_family=AF_INET6, sin6_port=htons(53)}, 28) = 0': True,
    '7 connect(3, {sa_family=AF_UNIX, sun_path="/tmp/.wine-0/server/socket"}, 110) = 0': False,
    "7 sendto(5, [{nlmsg_len=20, nlmsg_type=RTM_GETLINK}], 20, 0, {sa_family=AF_NETLINK}, 12) = 20": False,
    "7 socket(AF_INET, SOCK_DGRAM, IPPROTO_IP) = 27": False,
}


@pytest.mark.parametrize(("line", "reaches_out"), LINES.items())
def test_what_is_a_connection(line, reaches_out, tmp_path):
    trace = tmp_path / "trace.txt"
    trace.write_text(f"7 +++ something else +++\n{line}\n", encoding="utf-8")
    assert watch_network.connections(trace) == ([line] if reaches_out else [])
    with pytest.raises(devenv.SetupError, match="connections while it starts" if reaches_out else "blind"):
        watch_network.expect_connections(trace, not reaches_out)


def test_a_watch_that_saw_nothing_at_all_is_no_proof(tmp_path):
    with pytest.raises(devenv.SetupError, match="strace saw nothing at all"):
        watch_network.expect_connections(tmp_path / "trace.txt", False)


@pytest.mark.skipif(not shutil.which("strace"), reason="the frozen tier installs strace")
@pytest.mark.parametrize("through", ["itself", "a program that it starts"])
def test_a_real_connection_is_seen(through, tmp_path):
    trace = tmp_path / "trace.txt"
    words = [sys.executable, "-c", watch_network.CONNECTS]
    if through != "itself":
        words = ["sh", "-c", f'"{sys.executable}" -c "{watch_network.CONNECTS}"; true']
    with watch_network.watched(words, os.environ, trace) as process:
        process.wait(60)
    watch_network.expect_connections(trace, True)
