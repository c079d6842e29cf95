//! Which addresses may be called. Private networks may, because clusters live there; link-local, metadata, unspecified and
//! multicast addresses never, neither written in a URL nor found by name at the moment of the call.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Metadata services outside of the link-local networks, by cloud.
const METADATA_V4: [Ipv4Addr; 1] = [Ipv4Addr::new(100, 100, 100, 200)];
/// The same for version 6.
const METADATA_V6: [Ipv6Addr; 2] = [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)];

/// A name that leads nowhere we would go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EgressError {
    /// The name has no address.
    Unresolved {
        /// What the resolver says.
        reason: String,
    },
    /// Every address of the name is blocked.
    Blocked {
        /// What the first address is.
        reason: &'static str,
    },
}

impl fmt::Display for EgressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EgressError::Unresolved { reason } => write!(f, "the name cannot be resolved: {reason}"),
            EgressError::Blocked { reason } => write!(f, "the name leads to {reason}, which is never called"),
        }
    }
}

impl std::error::Error for EgressError {}

/// What a blocked address is; `None` for one that may be called.
#[must_use]
pub fn blocked(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => blocked_v4(address),
        IpAddr::V6(address) => blocked_v6(address),
    }
}

/// The address that the host of a URL is, if it is one.
#[must_use]
pub fn literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

fn blocked_v4(address: Ipv4Addr) -> Option<&'static str> {
    if address.octets()[0] == 0 {
        Some("an unspecified address")
    } else if address.is_link_local() || METADATA_V4.contains(&address) {
        Some("a link-local or metadata address")
    } else if address.is_multicast() || address.is_broadcast() {
        Some("a multicast address")
    } else {
        None
    }
}

fn blocked_v6(address: Ipv6Addr) -> Option<&'static str> {
    if address.is_unspecified() {
        return Some("an unspecified address");
    }
    if address.is_loopback() {
        return None;
    }
    if address.is_unicast_link_local() || METADATA_V6.contains(&address) {
        return Some("a link-local or metadata address");
    }
    if address.is_multicast() {
        return Some("a multicast address");
    }
    // A version 4 address inside a mapped (RFC 4291), compatible or NAT64 (RFC 6052) one is judged as what it is.
    let [.., high, low] = address.segments();
    let prefix = &address.segments()[..6];
    if matches!(prefix, [0, 0, 0, 0, 0, 0 | 0xffff] | [0x64, 0xff9b, 0, 0, 0, 0]) {
        let [first, second] = high.to_be_bytes();
        let [third, fourth] = low.to_be_bytes();
        return blocked_v4(Ipv4Addr::new(first, second, third, fourth));
    }
    None
}

/// Keeps the addresses that may be called.
///
/// # Errors
/// Where none is left.
pub fn admit(addresses: impl IntoIterator<Item = SocketAddr>) -> Result<Vec<SocketAddr>, EgressError> {
    let mut fault = EgressError::Unresolved { reason: "no address".to_owned() };
    let mut kept = Vec::new();
    for address in addresses {
        match blocked(address.ip()) {
            Some(reason) => fault = EgressError::Blocked { reason },
            None => kept.push(address),
        }
    }
    if kept.is_empty() { Err(fault) } else { Ok(kept) }
}

/// The addresses of a host, name or literal, that may be called.
///
/// # Errors
/// Where there is none.
pub async fn lookup(host: &str, port: u16) -> Result<Vec<SocketAddr>, EgressError> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let found = tokio::net::lookup_host((host, port)).await.map_err(|error| EgressError::Unresolved { reason: error.to_string() })?;
    admit(found)
}

/// Resolves names for the HTTP client, at every connection anew: a name that changes its address after the settings were
/// checked is caught.
#[derive(Clone, Copy, Debug, Default)]
pub struct GuardedResolver;

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let addresses = lookup(name.as_str(), 0).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_addresses_are_blocked_in_every_disguise() {
        for bad in [
            "169.254.169.254",
            "169.254.0.1",
            "0.0.0.0",
            "0.1.2.3",
            "224.0.0.1",
            "255.255.255.255",
            "100.100.100.200",
            "::",
            "fe80::1",
            "febf::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:169.254.169.254",
            "::ffff:0.0.0.0",
            "::169.254.169.254",
            "64:ff9b::169.254.169.254",
        ] {
            assert!(blocked(bad.parse().unwrap()).is_some(), "{bad} was admitted");
        }
        for good in ["127.0.0.1", "10.0.0.1", "192.168.1.1", "100.64.0.1", "8.8.8.8", "::1", "fd00::1", "::ffff:10.0.0.1", "2001:db8::1"] {
            assert_eq!(blocked(good.parse().unwrap()), None, "{good}");
        }
    }

    #[test]
    fn a_name_with_only_blocked_addresses_is_refused() {
        let metadata: SocketAddr = "169.254.169.254:80".parse().unwrap();
        let local: SocketAddr = "127.0.0.1:80".parse().unwrap();
        assert!(matches!(admit([metadata]), Err(EgressError::Blocked { .. })));
        assert_eq!(admit([metadata, local]), Ok(vec![local]));
        assert!(matches!(admit([]), Err(EgressError::Unresolved { .. })));
    }
}
