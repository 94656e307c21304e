//! The services of a node that give credentials over plain HTTP: EC2's metadata service and the agents of ECS and EKS.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kit::Principal;
use serde_json::json;

const SESSION: &str = "metadata-session";

#[derive(Default)]
struct State {
    container: Option<Principal>,
    instance: Option<(Principal, String)>,
    authorization: Option<String>,
    calls: usize,
}

pub(crate) struct Metadata {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Metadata {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let served = Arc::clone(&state);
        std::thread::spawn(move || {
            for tcp in listener.incoming().flatten() {
                let _ = serve(&tcp, &served);
            }
        });
        Self { address, state }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn serve_container(&self, who: &Principal) {
        locked(&self.state).container = Some(who.clone());
    }

    pub(crate) fn serve_instance(&self, who: &Principal, region: &str) {
        locked(&self.state).instance = Some((who.clone(), region.to_owned()));
    }

    /// The `Authorization` header that came last.
    pub(crate) fn authorization(&self) -> Option<String> {
        locked(&self.state).authorization.clone()
    }

    pub(crate) fn calls(&self) -> usize {
        locked(&self.state).calls
    }
}

/// One request on each connection.
fn serve(tcp: &TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut lines = BufReader::new(tcp).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    let mut session = None;
    let mut authorization = None;
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(": ") else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "x-aws-ec2-metadata-token" => session = Some(value.to_owned()),
            "authorization" => authorization = Some(value.to_owned()),
            _ => {}
        }
    }
    let mut state = locked(state);
    state.calls += 1;
    state.authorization = authorization;
    let (status, body) = answer(&request, session.as_deref(), &state);
    let mut tcp = tcp;
    write!(
        tcp,
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nx-aws-ec2-metadata-token-ttl-seconds: 21600\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn answer(request: &str, session: Option<&str>, state: &State) -> (&'static str, String) {
    let mut words = request.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if let ("/v2/credentials", Some(who)) = (path, &state.container) {
        return ("200 OK", credentials(who));
    }
    let Some((who, region)) = &state.instance else {
        return ("404 Not Found", String::new());
    };
    if (method, path) == ("PUT", "/latest/api/token") {
        return ("200 OK", SESSION.to_owned());
    }
    // Version 2 of the service: nothing without a session.
    if session != Some(SESSION) {
        return ("401 Unauthorized", String::new());
    }
    match path.trim_end_matches('/') {
        "/latest/meta-data/iam/security-credentials" => ("200 OK", "node".to_owned()),
        "/latest/meta-data/iam/security-credentials/node" => ("200 OK", credentials(who)),
        "/latest/meta-data/placement/region" => ("200 OK", region.clone()),
        _ => ("404 Not Found", String::new()),
    }
}

fn credentials(who: &Principal) -> String {
    json!({
        "Code": "Success",
        "Type": "AWS-HMAC",
        "AccessKeyId": who.access_key_id,
        "SecretAccessKey": who.secret_access_key,
        "Token": who.session_token,
        "Expiration": "2099-01-01T00:00:00Z",
        "LastUpdated": "2026-11-24T00:00:00Z",
    })
    .to_string()
}
