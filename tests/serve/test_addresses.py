"""Which addresses are whose, which names are ours, which requests come from elsewhere."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecsv.errors import UsageError
from vecsv.serve.addresses import (
    client_of,
    is_host_served,
    is_loopback,
    is_same_site,
    neighbourhood_of,
    networks,
    require_safe,
)

LOOPBACK = ["127.0.0.1", "127.0.0.2", "127.255.255.254", "::1", "[::1]", "0:0:0:0:0:0:0:1", "localhost", "LOCALHOST"]
ELSEWHERE = [
    "0.0.0.0", "::", "", "*", "192.168.1.2", "10.0.0.1", "203.0.113.5", "2001:db8::1", "fe80::1", "128.0.0.1",
    "example.org", "localhost.example.org", "127.0.0.1.nip.io", "127.1", "2130706433", "0x7f000001", "::ffff:10.0.0.1",
]  # fmt: skip


@pytest.mark.parametrize("host", LOOPBACK)
def test_on_the_loopback_no_key_is_needed(host: str) -> None:
    assert is_loopback(host)
    assert require_safe(host, keys=0, tls=False) == ()


@pytest.mark.parametrize("host", ELSEWHERE)
def test_anywhere_else_a_service_without_keys_does_not_start(host: str) -> None:
    assert not is_loopback(host)
    for tls in (False, True):
        with pytest.raises(UsageError, match=r"would ask nobody for a key \(make one with vecsv keys add"):
            require_safe(host, keys=0, tls=tls)
    assert require_safe(host, keys=1, tls=True) == ()
    (warning,) = require_safe(host, keys=1, tls=False)
    assert "in the clear" in warning


@given(st.ip_addresses(v=4))
def test_of_the_ipv4_addresses_those_of_127_are_the_loopback(address: ipaddress.IPv4Address) -> None:
    assert is_loopback(str(address)) is (str(address).split(".")[0] == "127")


class TestClient:
    PROXIES = networks(["10.0.0.0/8", "2001:db8::/32"])

    @pytest.mark.parametrize(
        ("peer", "forwarded", "client"),
        [
            ("203.0.113.5", [], "203.0.113.5"),
            ("203.0.113.5", ["1.2.3.4"], "203.0.113.5"),
            ("10.0.0.2", ["1.2.3.4"], "1.2.3.4"),
            ("10.0.0.2", ["6.6.6.6, 1.2.3.4"], "1.2.3.4"),
            ("10.0.0.2", ["6.6.6.6", "1.2.3.4 , 10.9.9.9"], "1.2.3.4"),
            ("10.0.0.2", ["10.0.0.3"], "10.0.0.3"),
            ("10.0.0.2", [], "10.0.0.2"),
            ("10.0.0.2", ["garbage"], "10.0.0.2"),
            ("10.0.0.2", ["1.2.3.4, garbage"], "10.0.0.2"),
            ("2001:db8::7", ["2001:db9::1"], "2001:db9::1"),
            ("::ffff:10.0.0.2", ["1.2.3.4"], "1.2.3.4"),
            ("unknown", ["1.2.3.4"], "unknown"),
        ],
    )
    def test_only_what_trusted_proxies_wrote_counts(self, peer: str, forwarded: list[str], client: str) -> None:
        assert client_of(peer, forwarded, self.PROXIES) == client

    @given(st.lists(st.text()), st.ip_addresses())
    def test_without_proxies_no_header_changes_anything(
        self, forwarded: list[str], peer: ipaddress.IPv4Address | ipaddress.IPv6Address
    ) -> None:
        found = ipaddress.ip_address(client_of(str(peer), forwarded, ()))
        assert found in {peer, getattr(peer, "ipv4_mapped", None)}

    def test_what_is_no_network_is_refused(self) -> None:
        for text in ("proxy.example", "10.0.0.1/8", ""):
            with pytest.raises(UsageError, match="no network"):
                networks([text])

    def test_addresses_of_one_party_are_one(self) -> None:
        assert neighbourhood_of("2001:db8:0:1::1") == neighbourhood_of("2001:db8:0:1:ffff:ffff:ffff:ffff")
        assert neighbourhood_of("2001:db8:0:1::1") != neighbourhood_of("2001:db8:0:2::1")
        assert neighbourhood_of("203.0.113.5") != neighbourhood_of("203.0.113.6")
        assert neighbourhood_of("unknown") == "unknown"


class TestHost:
    @pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8000", "localhost:1", "[::1]:8000", "LocalHost", "[::1]"])
    def test_the_loopbacks_names_are_served(self, host: str) -> None:
        assert is_host_served(host, (), loopback=True)

    @pytest.mark.parametrize(
        "host",
        [
            "evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "", ":8000",
            "192.168.1.2", "user@localhost", "evil.example/localhost", "localhost evil.example",
            "evil.example#localhost", "localhost,evil.example", "[::1", "::1]", "localhost\\evil.example", "0.0.0.0",
        ],
    )  # fmt: skip
    def test_any_other_name_is_not(self, host: str) -> None:
        assert not is_host_served(host, (), loopback=True)

    def test_names_can_be_allowed_and_off_the_loopback_any_will_do_unless_some_are(self) -> None:
        allowed = {"voices.example.org"}
        assert is_host_served("Voices.Example.org:443", allowed, loopback=True)
        assert is_host_served("localhost", allowed, loopback=True)
        assert not is_host_served("localhost", allowed, loopback=False)
        assert not is_host_served("other.example.org", allowed, loopback=False)
        assert is_host_served("other.example.org", (), loopback=False)
        assert not is_host_served("", (), loopback=False)


class TestSite:
    @pytest.mark.parametrize(
        ("origin", "fetch_site", "same"),
        [
            (None, None, True),
            ("http://localhost:8000", "same-origin", True),
            ("http://localhost:8000", None, True),
            ("HTTP://localhost:8000", None, False),
            (None, "none", True),
            ("null", None, False),
            ("null", "cross-site", False),
            ("http://localhost:3000", None, False),
            ("http://localhost:3000", "same-site", False),
            ("http://localhost", None, False),
            ("https://evil.example", "cross-site", False),
            ("https://evil.example", None, False),
            ("http://localhost:8000.evil.example", None, False),
            ("file://localhost:8000", None, False),
            ("", None, False),
            ("http://localhost:8000", "cross-site", False),
            ("https://friend.example", "cross-site", True),
        ],
    )
    def test_another_sites_page_is_told_apart(self, origin: str | None, fetch_site: str | None, same: bool) -> None:
        found = is_same_site(
            host="localhost:8000", origin=origin, fetch_site=fetch_site, allowed={"https://friend.example"}
        )
        assert found is same

    def test_standard_ports_may_be_left_out(self) -> None:
        def same(host: str, origin: str) -> bool:
            return is_same_site(host=host, origin=origin, fetch_site=None, allowed=())

        assert same("example.org:443", "https://example.org")
        assert same("example.org", "https://example.org:443")
        assert same("[::1]", "http://[::1]")
        assert not same("example.org:80", "https://example.org")
