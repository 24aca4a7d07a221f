"""Connections to tools: only to addresses that tools may be at, checked after the name was resolved.

A host that an AgentService names may have a private address: many tools are services in the same cluster. It may not be
this pod itself, whose containers trust each other, nor what only machines of a cloud can reach, nor the API server.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import ssl
import urllib.request
from collections.abc import Sequence

import httpx2

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

CONNECT_SECONDS = 5.0
_METADATA_SERVERS = frozenset(
    ipaddress.ip_address(address) for address in ("100.100.100.200", "fd00:ec2::254", "fd20:ce::254")
)
"""Of clouds that have them outside the link-local networks: Alibaba, AWS, Google."""
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class ForbiddenAddressError(httpx2.ConnectError):
    """A name leads to where no tool may be."""


class CheckedTransport(httpx2.AsyncBaseTransport):
    """Resolves each name itself, and connects to the very address that it has checked.

    Through a proxy of the environment it is the proxy that resolves names, so that only addresses in URLs are checked.

    Args:
        tls: what verifies servers.
        loopback: whether this machine is a place for tools; so on a laptop, never in a pod.
    """

    def __init__(self, tls: ssl.SSLContext, *, loopback: bool) -> None:
        self._tls = tls
        self._loopback = loopback
        self._direct = httpx2.AsyncHTTPTransport(verify=tls, trust_env=False)
        self._proxied: dict[str, httpx2.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request; see httpx2.

        Raises:
            ForbiddenAddressError: nothing was sent.
            httpx2.TransportError: as of any transport.
        """
        url = request.url
        if proxy := _proxy_for(url):
            if (literal := _literal(url.host)) is not None:
                self._check(literal)
            if proxy not in self._proxied:
                self._proxied[proxy] = httpx2.AsyncHTTPTransport(verify=self._tls, trust_env=False, proxy=proxy)
            return await self._proxied[proxy].handle_async_request(request)
        addresses = await _resolve(url.host)
        for address in addresses:
            self._check(address)
        *others, last = addresses
        for address in others:
            try:
                return await self._direct.handle_async_request(_at(request, address))
            except (httpx2.ConnectError, httpx2.ConnectTimeout):  # nothing was sent
                continue
        return await self._direct.handle_async_request(_at(request, last))

    async def aclose(self) -> None:
        """Close the connections."""
        for transport in (self._direct, *self._proxied.values()):
            await transport.aclose()

    def _check(self, address: Address) -> None:
        if reason := _forbidden(address, loopback=self._loopback):
            raise ForbiddenAddressError(f"its address is {reason}")


def _forbidden(address: Address, *, loopback: bool) -> str | None:
    """What an address is that no tool may have."""
    address = _unwrapped(address)
    if address.is_loopback:
        return None if loopback else "that of this pod itself"
    if address.is_link_local:
        return "link-local"
    if address.is_unspecified or address.is_multicast or address == ipaddress.ip_address("255.255.255.255"):
        return "none of a server"
    if address in _METADATA_SERVERS:
        return "that of a cloud's metadata"
    if address == _literal(os.environ.get("KUBERNETES_SERVICE_HOST", "")):
        return "that of the Kubernetes API server"
    return None


def _unwrapped(address: Address) -> Address:
    """The IPv4 address that an IPv6 address leads to, if it does."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and address in _NAT64:
        inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return inner or address


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


async def _resolve(host: str) -> Sequence[Address]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError):
        raise httpx2.ConnectError("its name is not known") from None
    # A link-local address has its interface behind a percent sign.
    return [ipaddress.ip_address(str(address[0]).partition("%")[0]) for *_, address in found]


def _at(request: httpx2.Request, address: Address) -> httpx2.Request:
    """The same request to one address of its host; the header Host, and whom TLS expects, stay."""
    return httpx2.Request(
        request.method,
        request.url.copy_with(host=str(address)),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": request.url.host},
    )


def _proxy_for(url: httpx2.URL) -> str | None:
    """The proxy that the environment names for a URL."""
    if urllib.request.proxy_bypass(url.host):
        return None
    return urllib.request.getproxies().get(url.scheme)
