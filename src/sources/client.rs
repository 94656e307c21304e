//! The connection to the API server: which one, with which credentials, and how long we wait for it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::{Request, StatusCode};
use kube::client::Body;
use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use thiserror::Error;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tower::{BoxError, service_fn};

use super::watch::WATCH;
use crate::mapping::index::SourceFailure;

/// The API server is on this host or in this data centre; one that does not even accept in this time is away.
const CONNECT: Duration = Duration::from_secs(5);

/// Our requests are small; one that cannot be written in this time goes into a dead connection.
const WRITE: Duration = Duration::from_secs(10);

/// A connection on which nothing was heard for the whole length of a watch, and then some, is dead.
const READ: Duration = WATCH.saturating_add(Duration::from_secs(15));

/// Why there is no client for the API server.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The kubeconfig is missing or not one.
    #[error("kubeconfig {path}: {error}", path = .path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: KubeconfigError,
    },
    /// There is neither a kubeconfig nor a service account.
    #[error("no --kubeconfig is given and this is not a pod with a service account: {0}")]
    InCluster(#[from] InClusterError),
    /// `--master` is not a URL.
    #[error("--master {0:?} is not a URL")]
    Master(String),
    /// The credentials cannot be used.
    #[error("credentials for the API server: {0}")]
    Credentials(#[from] kube::Error),
}

impl ConnectError {
    /// What a source that needs the API server has to say about it.
    pub fn failure(&self) -> SourceFailure {
        match self {
            Self::Kubeconfig { .. } => SourceFailure::File(self.to_string().into()),
            Self::InCluster(_) | Self::Master(_) | Self::Credentials(_) => SourceFailure::Unreachable,
        }
    }
}

/// A client that fails is made anew from the files at most this often: its certificate, or the authority of the API
/// server, may have been rotated.
const MIN_AGE: Duration = Duration::from_secs(10);

/// Makes the client for the API server when somebody asks for it, and shares it.
///
/// On a control plane the kubeconfig may be written after we start, so a failure is one for now: the next one who
/// asks tries again.
#[derive(Clone)]
pub struct Connector {
    kubeconfig: Option<PathBuf>,
    master: Option<String>,
    client: Arc<Mutex<Option<Made>>>,
}

struct Made {
    client: Client,
    at: Instant,
    /// Whether there are files to make another one from.
    renewable: bool,
}

impl Connector {
    /// A connector for the flags `--kubeconfig` and `--master`; without either it uses the pod's service account.
    pub fn new(kubeconfig: Option<PathBuf>, master: Option<String>) -> Self {
        Self {
            kubeconfig,
            master,
            client: Arc::default(),
        }
    }

    /// A connector that has its client already.
    pub fn connected(client: Client) -> Self {
        Self {
            kubeconfig: None,
            master: None,
            client: Arc::new(Mutex::new(Some(Made {
                client,
                at: Instant::now(),
                renewable: false,
            }))),
        }
    }

    /// The client. Nothing is sent to the API server yet.
    ///
    /// # Errors
    /// When the configuration is not there or not usable, for now.
    pub async fn client(&self) -> Result<Client, ConnectError> {
        // Held while the files are read, so that sources that ask together share one client.
        let mut made = self.client.lock().await;
        if let Some(made) = &*made {
            return Ok(made.client.clone());
        }
        let client = connect(self.kubeconfig.as_deref(), self.master.as_deref()).await?;
        *made = Some(Made {
            client: client.clone(),
            at: Instant::now(),
            renewable: true,
        });
        Ok(client)
    }

    /// A client that outlives the credentials: whenever it does not get through, its next request goes out with what is
    /// in the files by then.
    pub fn renewing(&self) -> Client {
        let connector = self.clone();
        let send = service_fn(move |request: Request<Body>| {
            let connector = connector.clone();
            async move {
                let client = connector.client().await?;
                let answer = client.send(request).await;
                let refused = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN];
                if answer
                    .as_ref()
                    .map_or(true, |answer| refused.contains(&answer.status()))
                {
                    connector.failed().await;
                }
                answer.map_err(BoxError::from)
            }
        });
        Client::new(send, "default")
    }

    /// Tells that the client does not get through: the next one who asks gets one that is made from the files as they
    /// are then, unless it was made just now.
    pub(super) async fn failed(&self) {
        let mut made = self.client.lock().await;
        if made
            .as_ref()
            .is_some_and(|made| made.renewable && made.at.elapsed() >= MIN_AGE)
        {
            *made = None;
        }
    }
}

/// Reads the configuration and builds a client from it. Nothing is sent to the API server yet.
///
/// # Errors
/// When the configuration is not there or not usable.
pub async fn connect(kubeconfig: Option<&Path>, master: Option<&str>) -> Result<Client, ConnectError> {
    let master = master.map(|url| {
        url.parse::<hyper::Uri>()
            .map_err(|_| ConnectError::Master(url.to_owned()))
    });
    let master = master.transpose()?;
    let mut config = match (kubeconfig, &master) {
        (Some(path), _) => read_kubeconfig(path).await?,
        (None, Some(url)) => Config::new(url.clone()),
        (None, None) => Config::incluster()?,
    };
    if let Some(url) = master {
        config.cluster_url = url;
    }
    // The API server is near, and whoever can set a proxy must not be able to read over our shoulder.
    config.proxy_url = None;
    config.connect_timeout = Some(CONNECT);
    config.write_timeout = Some(WRITE);
    config.read_timeout = Some(READ);
    config.reset_reader_on_write = true;
    // kube would repeat a request that meets 429, 503 or 504 for up to 1000 seconds without telling us.
    config.default_retry = false;
    Ok(Client::try_from(config)?)
}

async fn read_kubeconfig(path: &Path) -> Result<Config, ConnectError> {
    let failed = |error| ConnectError::Kubeconfig {
        path: path.to_owned(),
        error,
    };
    let kubeconfig = Kubeconfig::read_from(path).map_err(failed)?;
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(failed)
}
