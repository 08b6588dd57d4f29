//! The sockets that a service listens on: opened now, or taken over from the gate before.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};

use ebpf::Ports;
use rustix::net::sockopt;
use serde::{Deserialize, Serialize};

mod both;

use super::ServeError;
use super::upgrade::TakenOver;
use crate::config::Listen;
use crate::listen::routed::{self, Own};
use crate::pod::Pod;

/// What a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Explicit proxy and gateway.
    Proxy,
    /// Redirected connections.
    Transparent,
    /// Routed connections.
    Routed,
    /// Questions over TCP.
    DnsTcp,
    /// Questions over UDP.
    DnsUdp,
    /// Health, readiness and metrics.
    Health,
    /// Connections from outside to the agent in a pod.
    Inbound,
}

/// Listeners of one kind.
#[derive(Debug, Default)]
pub(super) struct Group(Vec<TcpListener>);

impl Group {
    /// As the traffic threads accept from them.
    pub(super) fn into_async(self, path: &str) -> Result<Vec<tokio::net::TcpListener>, ServeError> {
        let named =
            |why: std::io::Error| ServeError::Named { path: path.to_owned(), why: why.to_string() };
        let listeners = self.0.into_iter().map(|listener| {
            listener.set_nonblocking(true)?;
            tokio::net::TcpListener::from_std(listener)
        });
        listeners.collect::<Result<_, _>>().map_err(named)
    }

    /// Second handles on the same sockets.
    pub(super) fn try_clone(&self, what: &'static str) -> Result<Vec<TcpListener>, ServeError> {
        let cloned = self.0.iter().map(TcpListener::try_clone).collect::<Result<_, _>>();
        cloned.map_err(|source| ServeError::System { what, source })
    }
}

/// Everything that a service listens on.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) proxy: Group,
    pub(super) transparent: Group,
    pub(super) routed: Group,
    pub(super) dns_tcp: Vec<TcpListener>,
    pub(super) dns_udp: Vec<UdpSocket>,
    pub(super) health: Group,
    pub(super) inbound: Group,
    /// The gate's own addresses, to which nothing is routed.
    pub(super) own: Own,
    ports: Ports,
}

impl Listening {
    /// Opens what the configuration names. A socket of the gate before is used where it is the same.
    /// In a pod, what is asked of both families is opened for those that the pod's network has.
    pub(super) fn open(
        listen: &Listen,
        pod: Option<&Pod>,
        mut taken: TakenOver,
    ) -> Result<Self, ServeError> {
        let in_pod = pod.is_some();
        let mut open = |role: Role, path: &str, all: &[SocketAddr]| {
            let each = all.iter().map(|at| match taken.take(role, *at) {
                Some(socket) => Ok(Some(TcpListener::from(socket))),
                None if role == Role::Routed => {
                    routed::open(*at).map(Some).map_err(|error| fault(path, *at, &error))
                }
                None if in_pod => both::tcp(*at, all).map_err(|error| fault(path, *at, &error)),
                None => TcpListener::bind(at).map(Some).map_err(|error| fault(path, *at, &error)),
            });
            let opened: Result<Vec<_>, ServeError> = each.filter_map(Result::transpose).collect();
            opened
        };
        let proxy = open(Role::Proxy, "listen.proxy", &listen.proxy)?;
        let transparent = open(Role::Transparent, "listen.transparent", &listen.transparent)?;
        let routed = open(Role::Routed, "listen.routed", &listen.routed)?;
        let dns_tcp = open(Role::DnsTcp, "listen.dns", &listen.dns)?;
        let health = open(Role::Health, "listen.health", &listen.health)?;
        let serving = pod.is_some_and(|pod| !pod.declared().is_empty());
        let outside = if serving { both::ANY.as_slice() } else { &[] };
        let inbound = open(Role::Inbound, "pod", outside)?;
        let dns_udp = listen.dns.iter().map(|at| match taken.take(Role::DnsUdp, *at) {
            Some(socket) => Ok(Some(UdpSocket::from(socket))),
            None if in_pod => both::udp(*at).map_err(|error| fault("listen.dns", *at, &error)),
            None => UdpSocket::bind(at).map(Some).map_err(|error| fault("listen.dns", *at, &error)),
        });
        let dns_udp = dns_udp.filter_map(Result::transpose).collect::<Result<Vec<_>, _>>()?;
        let all = [&proxy, &transparent, &routed, &dns_tcp, &health, &inbound];
        let own = all.into_iter().flatten().filter_map(|listener| listener.local_addr().ok());
        let own = Own::new(own.collect());
        let port = |sockets: &[TcpListener]| {
            sockets.first().and_then(|socket| Some(socket.local_addr().ok()?.port()))
        };
        let ports = Ports {
            intake: port(&transparent).unwrap_or_default(),
            responder: port(&dns_tcp).unwrap_or_default(),
        };
        let (proxy, transparent) = (Group(proxy), Group(transparent));
        let (routed, health, inbound) = (Group(routed), Group(health), Group(inbound));
        Ok(Self { proxy, transparent, routed, dns_tcp, dns_udp, health, inbound, own, ports })
    }

    /// Where the kernel is to redirect to.
    pub(super) const fn ports(&self) -> Ports {
        self.ports
    }

    /// Second handles on all of them, for a gate that takes over.
    pub(super) fn second_handles(&self) -> Result<Vec<(Role, SocketAddr, OwnedFd)>, ServeError> {
        let groups = [
            (Role::Proxy, &self.proxy.0),
            (Role::Transparent, &self.transparent.0),
            (Role::Routed, &self.routed.0),
            (Role::DnsTcp, &self.dns_tcp),
            (Role::Health, &self.health.0),
            (Role::Inbound, &self.inbound.0),
        ];
        let tcp = groups.into_iter().flat_map(|(role, all)| {
            all.iter().map(move |one| Ok((role, one.local_addr()?, one.as_fd())))
        });
        let udp = self.dns_udp.iter().map(|one| Ok((Role::DnsUdp, one.local_addr()?, one.as_fd())));
        let second = tcp.chain(udp).map(|one: std::io::Result<_>| {
            let (role, at, fd) = one?;
            Ok((role, at, fd.try_clone_to_owned()?))
        });
        let what = "keeping handles on the listeners";
        let all: std::io::Result<_> = second.collect();
        all.map_err(|source| ServeError::System { what, source })
    }
}

/// Whether `socket` is what `role` needs: a listener, or for UDP a datagram socket.
pub(super) fn fits(role: Role, socket: &OwnedFd) -> bool {
    match role {
        Role::DnsUdp => {
            sockopt::socket_type(socket).is_ok_and(|kind| kind == rustix::net::SocketType::DGRAM)
        }
        Role::Proxy
        | Role::Transparent
        | Role::Routed
        | Role::DnsTcp
        | Role::Health
        | Role::Inbound => sockopt::socket_acceptconn(socket).unwrap_or_default(),
    }
}

fn fault(path: &str, at: SocketAddr, error: &dyn std::fmt::Display) -> ServeError {
    ServeError::Named { path: path.to_owned(), why: format!("cannot listen on {at}: {error}") }
}
