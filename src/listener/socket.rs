//! The listening socket: how it is made, and how one that is shared with a successor is given up without turning anybody away.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// As many as the runtime's own listeners have.
const BACKLOG: u32 = 1024;

/// A loopback connection is there at once or not at all; one that hangs is somebody's full backlog.
const LOOK: Duration = Duration::from_millis(500);

/// A socket that has its address and takes no connections yet.
#[derive(Debug)]
pub struct Bound {
    socket: TcpSocket,
    shared: bool,
}

/// Takes an address, or all of them: IPv6 and IPv4, or IPv4 alone where there is no IPv6. A `shared` one can be taken by a
/// successor too, if that one shares it as well and runs as the same user.
///
/// # Errors
/// When the address cannot be had.
pub fn bind(address: Option<IpAddr>, port: u16, shared: bool) -> io::Result<Bound> {
    match address {
        Some(address) => bind_to((address, port).into(), shared),
        None => match bind_to((Ipv6Addr::UNSPECIFIED, port).into(), shared) {
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                bind_to((Ipv4Addr::UNSPECIFIED, port).into(), shared)
            }
            bound => bound,
        },
    }
}

fn bind_to(address: SocketAddr, shared: bool) -> io::Result<Bound> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // Connections of an earlier process may linger for a minute; they do not keep the address from us.
    socket.set_reuseaddr(true)?;
    if shared {
        socket.set_reuseport(true)?;
    }
    socket.bind(address)?;
    Ok(Bound { socket, shared })
}

impl Bound {
    /// From now on connections come: all of them, or a share of them.
    ///
    /// # Errors
    /// When somebody else has the address for himself after all.
    pub fn listen(self) -> io::Result<Listening> {
        Ok(Listening {
            tcp: self.socket.listen(BACKLOG)?,
            shared: self.shared,
        })
    }
}

/// A socket that takes connections.
#[derive(Debug)]
pub struct Listening {
    pub(super) tcp: TcpListener,
    pub(super) shared: bool,
}

impl Listening {
    /// Where.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

impl From<TcpListener> for Listening {
    fn from(tcp: TcpListener) -> Self {
        Self { tcp, shared: false }
    }
}

/// Whether somebody takes connections there now.
pub async fn is_taken(address: Option<IpAddr>, port: u16) -> bool {
    let loopback: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let addresses = match address.filter(|address| !address.is_unspecified()) {
        Some(address) => vec![address],
        None => loopback.to_vec(),
    };
    for address in addresses {
        let looked = tokio::time::timeout(LOOK, TcpStream::connect((address, port))).await;
        if matches!(looked, Ok(Ok(_)) | Err(_)) {
            return true;
        }
    }
    false
}

/// Lets nobody new begin a connection at this socket, while those that have begun one can still finish it. Whoever is passed over
/// sends his SYN again after a second and meets the successor.
///
/// The kernel chooses among the sockets of a port by a hash of the addresses, and resets what waits at one that closes
/// (unless `net.ipv4.tcp_migrate_req` is set). A filter is the only way to close a queue before its socket.
#[cfg(target_os = "linux")]
pub(super) fn let_nobody_begin(tcp: &TcpListener) -> io::Result<()> {
    use socket2::{SockFilter, SockRef};
    // Classic BPF over the TCP header: the byte of flags, its bit SYN; drop, or take it whole.
    const LOAD_BYTE: u16 = 0x30;
    const JUMP_IF_SET: u16 = 0x45;
    const RETURN: u16 = 0x06;
    const FLAGS: u32 = 13;
    const SYN: u32 = 0x02;
    SockRef::from(tcp).attach_filter(&[
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS),
        SockFilter::new(JUMP_IF_SET, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ])
}

/// Elsewhere the queue is emptied as long as it lasts, which leaves a moment open.
#[cfg(not(target_os = "linux"))]
pub(super) fn let_nobody_begin(_: &TcpListener) -> io::Result<()> {
    Ok(())
}
