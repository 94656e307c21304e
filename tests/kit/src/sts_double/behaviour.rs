//! How the double can misbehave.

use std::time::Duration;

/// What the double does with a request that reached it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Behaviour {
    /// As STS does.
    #[default]
    Normal,
    /// As STS does, but later.
    Delay(Duration),
    /// HTTP 400 with code `Throttling`, as STS throttles.
    Throttle,
    /// This status and this body, as JSON.
    Status(u16, String),
    /// 302 to this address.
    Redirect(String),
    /// The right answer in XML although JSON was asked for.
    Xml,
    /// 200 with a body that is no JSON.
    Garbage,
    /// The right answer, followed by blanks up to this many bytes.
    Oversize(usize),
    /// No answer until the client gives up.
    Hang,
    /// The connection ends without an answer.
    Close,
}

/// What the double does with connections: an STS that cannot be reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Connect {
    /// Tunnels are opened.
    #[default]
    Open,
    /// `CONNECT` is answered with 502.
    Refuse,
    /// The connection ends without an answer.
    Drop,
    /// `CONNECT` gets no answer.
    Hang,
}
