//! How connections to STS are made: TCP or a CONNECT tunnel through a proxy, then TLS, all within one deadline.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tower::Service;

use super::StsSetupError;

/// The time for one connection, with name look-up, tunnel and handshake. A look-up of its own deadline may give up on it earlier; this
/// bound is for connections that go on in the background then.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// The time for TCP alone, shared among the addresses of a name, so that a dead one does not use up what the others need.
const TCP_DEADLINE: Duration = Duration::from_secs(3);

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Connecting<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

/// A connection before the TLS of STS: the proxy's own TLS may be around it.
type Way = MaybeHttpsStream<TokioIo<TcpStream>>;

/// Connects to STS.
pub(super) type Connector = Timed<HttpsConnector<Route>>;

/// Builds the connector; `roots` replaces the system's certificate authorities.
pub(super) fn build(proxy: Matcher, roots: Option<RootCertStore>) -> Result<Connector, StsSetupError> {
    check_proxy(&proxy)?;
    let tls = Arc::new(tls_config(roots)?);
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(TCP_DEADLINE));
    let route = Route {
        to_proxy: HttpsConnector::from((tcp.clone(), Arc::clone(&tls))),
        tcp,
        proxy: Arc::new(proxy),
    };
    let mut https = HttpsConnector::from((route, tls));
    https.enforce_https();
    Ok(Timed(https))
}

/// A SOCKS proxy would fail on every connection: better said at the start.
fn check_proxy(proxy: &Matcher) -> Result<(), StsSetupError> {
    let intercept = proxy.intercept(&Uri::from_static("https://sts.amazonaws.com/"));
    match intercept.as_ref().map(|proxy| proxy.uri().scheme_str()) {
        None | Some(Some("http" | "https")) => Ok(()),
        Some(_) => Err(StsSetupError::ProxyScheme),
    }
}

fn tls_config(roots: Option<RootCertStore>) -> Result<ClientConfig, StsSetupError> {
    let failed = |error: &dyn std::fmt::Display| StsSetupError::Tls(error.to_string().into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?;
    let builder = match roots {
        Some(roots) => builder.with_root_certificates(roots),
        None => builder.with_native_roots().map_err(|error| failed(&error))?,
    };
    Ok(builder.with_no_client_auth())
}

/// The way to a host: direct, or through the proxy that is for it.
#[derive(Clone)]
pub(super) struct Route {
    tcp: HttpConnector,
    to_proxy: HttpsConnector<HttpConnector>,
    proxy: Arc<Matcher>,
}

impl Service<Uri> for Route {
    type Response = Way;
    type Error = BoxError;
    type Future = Connecting<Way>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let Some(proxy) = self.proxy.intercept(&target) else {
            let connecting = self.tcp.call(target);
            return Box::pin(async move { Ok(MaybeHttpsStream::Http(connecting.await?)) });
        };
        let mut tunnel = Tunnel::new(proxy.uri().clone(), self.to_proxy.clone());
        if let Some(auth) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(auth.clone());
        }
        Box::pin(async move { Ok(tunnel.call(target).await?) })
    }
}

/// Gives every connection [`CONNECT_DEADLINE`].
#[derive(Clone)]
pub(super) struct Timed<C>(C);

impl<C> Service<Uri> for Timed<C>
where
    C: Service<Uri, Error = BoxError>,
    C::Future: Send + 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = Connecting<C::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let connecting = self.0.call(target);
        Box::pin(async move {
            match tokio::time::timeout(CONNECT_DEADLINE, connecting).await {
                Ok(connected) => connected,
                Err(elapsed) => Err(elapsed.into()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_http_proxies_are_accepted() {
        let with = |proxy: &str| build(Matcher::builder().https(proxy).build(), Some(RootCertStore::empty()));
        assert!(with("").is_ok());
        assert!(with("http://127.0.0.1:3128").is_ok());
        assert!(with("https://user:password@proxy.example").is_ok());
        assert!(matches!(
            with("socks5://127.0.0.1:1080"),
            Err(StsSetupError::ProxyScheme)
        ));
    }
}
