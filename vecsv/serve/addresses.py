"""Who can reach a service, who asks it, and by which name: pure functions of addresses."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Sequence
from urllib.parse import urlsplit

from vecsv.errors import UsageError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def is_loopback(host: str) -> bool:
    """Whether only programs on this machine can reach a service that listens at `host`.

    Any other name than ``localhost`` is not: it may stand for another address tomorrow.

    Examples
    --------
    >>> [is_loopback(host) for host in ("127.0.0.1", "127.8.9.10", "::1", "[::1]", "localhost", "LocalHost")]
    [True, True, True, True, True, True]
    >>> [is_loopback(host) for host in ("0.0.0.0", "::", "", "192.168.0.7", "localhost.example.org")]
    [False, False, False, False, False]
    """
    if host.lower() == "localhost":
        return True
    address = _parsed(host.removeprefix("[").removesuffix("]"))
    return address is not None and address.is_loopback


def require_safe(host: str, *, keys: int, tls: bool) -> tuple[str, ...]:
    """Refuse to let strangers in.

    Parameters
    ----------
    host : str
        Where the service is to listen.
    keys : int
        How many keys would be accepted; 0 when callers are asked for none.
    tls : bool
        Whether it has a certificate.

    Returns
    -------
    tuple of str
        What whoever starts it should know.

    Raises
    ------
    UsageError
        When others than this machine could reach it and it would ask nobody for a key.
    """
    if is_loopback(host):
        return ()
    if not keys:
        raise UsageError(
            f"at {host or 'all addresses'} others can reach the service, and it would ask nobody for a key",
            hint="make one with vecsv keys add and give --keys FILE, or listen at 127.0.0.1",
        )
    if tls:
        return ()
    return (
        f"at {host or 'all addresses'} without TLS, keys and voices travel in the clear, and browsers give the page no"
        " microphone: give --tls-certificate and --tls-key, or put a proxy with TLS before it",
    )


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Networks, and single addresses as networks of one.

    Examples
    --------
    >>> networks(["10.0.0.0/8", "::1"])
    (IPv4Network('10.0.0.0/8'), IPv6Network('::1/128'))
    """
    try:
        return tuple(ipaddress.ip_network(text) for text in texts)
    except ValueError as error:
        raise UsageError(f"no network: {error}", hint="write 10.0.0.0/8, or one address") from error


def client_of(peer: str, forwarded_for: Sequence[str], trusted: Collection[Network]) -> str:
    """The address a request came from.

    Parameters
    ----------
    peer : str
        The other end of the connection.
    forwarded_for : sequence of str
        The request's ``X-Forwarded-For`` headers. Anybody can write them, so they count only as far as trusted proxies
        have written them: from the right, up to the first address that is no trusted proxy's.
    trusted : collection of networks
        Of the proxies.

    Examples
    --------
    >>> client_of("203.0.113.5", ["1.2.3.4"], ())
    '203.0.113.5'
    >>> client_of("10.0.0.2", ["6.6.6.6, 203.0.113.5, 10.0.0.1"], networks(["10.0.0.0/8"]))
    '203.0.113.5'
    """
    client = _parsed(peer)
    hops = [hop.strip() for header in forwarded_for for hop in header.split(",")]
    while hops and client is not None and _within(client, trusted):
        hop = _parsed(hops.pop())
        if hop is None:
            break
        client = hop
    return peer if client is None else str(client)


def neighbourhood_of(address: str) -> str:
    """What one party holds at least: an IPv4 address, or the /64 network of an IPv6 one, of which anybody has many.

    Examples
    --------
    >>> neighbourhood_of("203.0.113.5"), neighbourhood_of("2001:db8::1:2"), neighbourhood_of("::ffff:203.0.113.5")
    ('203.0.113.5', '2001:db8::/64', '203.0.113.5')
    """
    parsed = _parsed(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return address if parsed is None else str(parsed)


def is_host_served(host: str, allowed: Collection[str], *, loopback: bool) -> bool:
    """Whether a ``Host`` header names this service.

    A page of another site can have its own name resolve to 127.0.0.1 and so ask a service there (DNS rebinding); its
    browser then sends that name.

    Parameters
    ----------
    host : str
        As the header has it, a port included.
    allowed : collection of str
        Names in lower case besides those of the loopback; where there are none and the service is off the loopback, any
        name will do.
    loopback : bool
        Whether the service listens at the loopback only.

    Examples
    --------
    >>> is_host_served("127.0.0.1:8000", (), loopback=True), is_host_served("evil.example", (), loopback=True)
    (True, False)
    """
    try:
        name = (urlsplit(f"//{host}").hostname or "") if _plain(host) else ""
    except ValueError:
        return False
    if not loopback and not allowed:
        return bool(name)
    return name in allowed or (loopback and is_loopback(name))


def is_same_site(*, host: str, origin: str | None, fetch_site: str | None, allowed: Collection[str]) -> bool:
    """Whether a request that changes something comes from the service's own page, or from no browser at all.

    Browsers send ``Sec-Fetch-Site``, older ones only ``Origin``, with every such request, and no page can forge them; a
    program that sends neither acts for nobody else.

    Parameters
    ----------
    host : str
        The request's ``Host``.
    origin, fetch_site : str or None
        Its ``Origin`` and ``Sec-Fetch-Site``.
    allowed : collection of str
        Origins of other sites' pages that may ask.

    Examples
    --------
    >>> is_same_site(host="localhost:8000", origin="http://localhost:8000", fetch_site="same-origin", allowed=())
    True
    >>> is_same_site(host="localhost:8000", origin="https://evil.example", fetch_site="cross-site", allowed=())
    False
    """
    if origin is not None and origin in allowed:
        return True
    if fetch_site is not None:
        return fetch_site in {"same-origin", "none"}
    if origin is None:
        return True
    scheme, _, place = origin.partition("://")
    return scheme in {"http", "https"} and bool(place) and _with_port(place, scheme) == _with_port(host, scheme)


def _with_port(place: str, scheme: str) -> str:
    place = place.lower()
    standard = ":443" if scheme == "https" else ":80"
    return place if place.rpartition(":")[2].isdigit() and not place.endswith("]") else place + standard


def _plain(host: str) -> bool:
    return not any(character in host for character in "/@?#\\ ,")


def _within(address: Address, trusted: Collection[Network]) -> bool:
    return any(address.version == network.version and address in network for network in trusted)


def _parsed(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
