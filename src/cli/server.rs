//! `server`: the one place where adapters are built, joined to the surfaces, and started.
//!
//! The order: a certificate, the kubeconfig of the webhook, the sockets; only then the sources. So whoever reads the kubeconfig finds
//! somebody who listens, and who says "not yet" until the sources are read.

mod args;
mod control;
mod ports;
mod report;
mod turn;

use std::sync::Arc;

use axum::Router;
use rustls::crypto::aws_lc_rs;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::GlobalArgs;
use super::init::{certificate_settings, hint, load_certificate, write_kubeconfig};
use super::output::{Failure, now};
use crate::admin::{self, AdminState, Opened, Readiness, View};
use crate::audit::Audit;
use crate::config::{Bind, MetricsAddress, ServerConfig};
use crate::lifecycle::{Signals, Supervisor, server_runtime};
use crate::listener::{self, Bound, Limits, Listener, Listening, Peer, answer};
use crate::live::{self, LiveTable};
use crate::mapping::SourceId;
use crate::mapping::aws_auth::{read_aws_auth, read_config_file, read_config_map};
use crate::mapping::index::{Index, SourceUpdate};
use crate::metrics::{Metrics, Snapshot};
use crate::sources::config_map::Watched;
use crate::sources::file::Followed;
use crate::sources::{self, Connector};
use crate::sts::{Sts, StsOptions};
use crate::webhook::certificate::Reloader;
use crate::webhook::clients::{ClientAuthority, ClientCaReloader, for_client};
use crate::webhook::{self, ReviewLimits, Settle, WebhookOptions, WebhookState, tls};
pub(super) use args::ServerArgs;
use control::{controller, settled};
use ports::{NoDnsNames, SharedSts};
use report::{ClusterIds, Reporter};
use turn::Turn;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What the log calls the port of the webhook.
const HTTPS: &str = "https";

/// The `ConfigMap`s that are watched, and their namespace.
const NAMESPACE: &str = "kube-system";
const AUTHENTICATOR_CONFIG_MAP: &str = "aws-iam-authenticator";
const EKS_CONFIG_MAP: &str = "aws-auth";

pub(super) fn run(args: ServerArgs, global: &GlobalArgs) -> Result<(), Failure> {
    let mut low = global.low()?;
    global.gates()?;
    global.start_log(&low)?;
    args.put_into(&mut low.flags);
    let (config, warnings) = ServerConfig::resolve(&low)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    // The Kubernetes client takes the provider of the process. An error says that there is one, which will do.
    let _ = aws_lc_rs::default_provider().install_default();
    let runtime = server_runtime().map_err(Failure::failed)?;
    runtime.block_on(serve(&config)).map_err(Failure::logged)
}

async fn serve(config: &ServerConfig) -> Result<(), Failure> {
    let signals = Signals::listen().map_err(Failure::failed)?;
    let started = Instant::now();
    tracing::info!(version = VERSION, "starting");
    let metrics = Arc::new(Metrics::new(started.into_std(), VERSION));
    let mut supervisor = Supervisor::new();

    let tls = certificate(&mut supervisor, config, &metrics)?;
    let https = bind(&config.webhook.bind, config, "--address and --port")?;
    let health = bind(&config.health, config, "--health-address and --health-port")?;
    let metrics_port = config.metrics.as_ref().and_then(|metrics| {
        metrics.port.map(|port| Bind {
            address: metrics.address,
            port,
        })
    });
    let metrics_port = metrics_port
        .map(|at| bind(&at, config, "--metrics-address"))
        .transpose()?;

    let policy = Arc::new(config.policy.clone());
    let (writer, table, updates) = live::writer(Index::new(&config.backend_modes, Arc::clone(&policy)));
    let (ids, tokens) = ClusterIds::new(config).map_err(Failure::failed)?;
    let (mut reporter, readiness) = Reporter::new(Arc::clone(&metrics), table.clone(), ids);
    let sts = Arc::new(sts(config, &metrics)?);
    expose(config, &metrics, &table, &sts);

    let webhook = WebhookState {
        table,
        sts: SharedSts(Arc::clone(&sts)),
        dns_names: NoDnsNames,
        tokens,
        mappings: policy,
        options: WebhookOptions {
            audiences: config.audiences.clone(),
            legacy_status_codes: config.legacy_status_codes,
            client_certificates: config.webhook.client_ca_file.is_some(),
            scrubbed_accounts: config.scrubbed_accounts.clone(),
        },
        settle: Settle {
            started,
            timeout: config.source_sync_timeout,
        },
        limits: ReviewLimits::default(),
        audit: Arc::new(Audit::new(
            Arc::clone(&metrics),
            config.scrubbed_accounts.clone(),
            move || sts.clock_skew_seconds(),
        )),
        now,
    };
    let shown = Health::new(readiness.clone(), tls.trouble.clone(), &metrics);
    let opened = match &config.metrics {
        Some(MetricsAddress { address, port: None }) => address.map_or(Opened::Everywhere, Opened::At),
        _ => Opened::Nowhere,
    };
    shown.spawn(&mut supervisor, "probes and metrics", health, opened)?;
    if let Some(bound) = metrics_port {
        shown.spawn(&mut supervisor, "metrics", bound, Opened::Everywhere)?;
    }
    let turn = Turn::new(config, readiness.clone());
    spawn_webhook(&mut supervisor, webhook, https, tls, &metrics, turn)?;
    hint(&config.webhook.generate_kubeconfig);

    let connector = Connector::new(config.api_server.kubeconfig.clone(), config.api_server.master.clone());
    if let Some(controller) = controller(config, writer.statuses(), &metrics, reporter.notes()) {
        reporter.tell(controller.events());
        let client = settled(connector.clone(), readiness.clone(), config.source_sync_timeout);
        let run = controller.run(client, supervisor.cancel_token());
        supervisor.spawn("controller", run);
    }
    spawn_sources(&mut supervisor, config, connector, &updates).await;
    // The sender in hand keeps the writer going when no source is left that could say anything.
    supervisor.spawn_until_cancelled("mappings", async move {
        writer.run(reporter).await;
        drop(updates);
    });
    supervisor.run(signals).await.map_err(Failure::failed)?;
    tracing::info!("stopped");
    Ok(())
}

/// How TLS is spoken, and whom clients are held against.
struct Tls {
    config: Arc<rustls::ServerConfig>,
    clients: Option<Arc<ClientAuthority>>,
    trouble: watch::Receiver<Option<String>>,
}

/// The pair to serve, kept up to date, and the kubeconfig that vouches for it.
fn certificate(supervisor: &mut Supervisor, config: &ServerConfig, metrics: &Arc<Metrics>) -> Result<Tls, Failure> {
    let renew = !config.kubeconfig_pregenerated;
    let first = load_certificate(&config.webhook, renew)?;
    if !config.kubeconfig_pregenerated {
        write_kubeconfig(&config.webhook, &first)?;
    }
    let reloader = Reloader::new(
        certificate_settings(&config.webhook, renew),
        &first,
        Arc::clone(metrics),
    );
    let ca_file = config.webhook.client_ca_file.clone();
    let client_ca = ca_file.map(|path| ClientCaReloader::new(path, Arc::clone(metrics)));
    let client_ca = client_ca.transpose().map_err(|error| {
        Failure::failed(format!(
            "--client-ca-file: {error}; nobody could ask for reviews without it"
        ))
    })?;
    let tls = Tls {
        config: tls::server_config(reloader.certificate(), client_ca.is_some()).map_err(Failure::failed)?,
        clients: client_ca.as_ref().map(ClientCaReloader::authority),
        trouble: reloader.trouble(),
    };
    supervisor.spawn_until_cancelled("certificate", reloader.run(now));
    if let Some(client_ca) = client_ca {
        supervisor.spawn_until_cancelled("client authority", client_ca.run());
    }
    Ok(tls)
}

fn bind(at: &Bind, config: &ServerConfig, flags: &str) -> Result<Bound, Failure> {
    listener::bind(at.address, at.port, config.reuse_port).map_err(|error| {
        let address = at.address.map_or_else(|| "all addresses".to_owned(), |address| address.to_string());
        let shared = if config.reuse_port {
            " (it can be shared only if that process has --reuse-port too and runs as the same user)"
        } else {
            ""
        };
        Failure::failed(format!(
            "cannot listen on port {} of {address}: {error}; stop what listens there{shared}, or choose another place with {flags}",
            at.port
        ))
    })
}

fn listen(bound: Bound, protocol: &str) -> Result<Listening, String> {
    let listening = bound
        .listen()
        .map_err(|error| format!("cannot listen ({protocol}): {error}; stop what listens there"))?;
    match listening.local_addr() {
        Ok(address) => tracing::info!("listening on {address} ({protocol})"),
        Err(error) => tracing::warn!(%error, "listening on an address that cannot be told ({protocol})"),
    }
    Ok(listening)
}

fn sts(config: &ServerConfig, metrics: &Arc<Metrics>) -> Result<Sts, Failure> {
    let mut options = StsOptions::new(now);
    options.identity_cache_ttl = config.identity_cache_ttl;
    options.outage_grace = config.identity_outage_grace;
    Sts::new(options, Arc::clone(metrics) as _)
        .map_err(|error| Failure::failed(format!("{error}; check SSL_CERT_FILE, SSL_CERT_DIR and HTTPS_PROXY")))
}

fn expose(config: &ServerConfig, metrics: &Metrics, table: &LiveTable, sts: &Arc<Sts>) {
    metrics.backends(&config.backend_modes);
    let (table, sts) = (table.clone(), Arc::clone(sts));
    metrics.read_at_scrape(move || Snapshot {
        sources: table.sources().to_vec(),
        clock_skew: sts.clock_skew_seconds(),
    });
}

fn spawn_webhook(
    supervisor: &mut Supervisor,
    state: WebhookState<SharedSts, NoDnsNames>,
    bound: Bound,
    tls: Tls,
    metrics: &Arc<Metrics>,
    turn: Option<Turn>,
) -> Result<(), Failure> {
    let service = webhook::service(state);
    let metrics = Arc::clone(metrics);
    let serve = move |socket, shutdown| {
        let listener = Listener {
            socket,
            tls: Some(tls.config),
            limits: Limits::default(),
            metrics,
        };
        let service_for = move |peer: Peer| {
            let client = tls.clients.as_ref().map(|clients| clients.client(peer.certificates));
            for_client(service.clone(), client)
        };
        listener.serve(service_for, shutdown)
    };
    let shutdown = supervisor.cancel_token();
    let Some(turn) = turn else {
        supervisor.spawn(
            "webhook",
            serve(listen(bound, HTTPS).map_err(Failure::failed)?, shutdown),
        );
        return Ok(());
    };
    supervisor.spawn_fallible("webhook", async move {
        if shutdown.run_until_cancelled(turn.wait()).await.is_some() {
            serve(listen(bound, HTTPS)?, shutdown).await;
        }
        Ok::<(), String>(())
    });
    Ok(())
}

/// What the plain-HTTP ports show, and to whom.
#[derive(Clone)]
struct Health {
    probes: Router,
    everything: Router,
    metrics: Arc<Metrics>,
}

impl Health {
    fn new(
        readiness: watch::Receiver<Readiness>,
        certificate: watch::Receiver<Option<String>>,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let state = AdminState {
            readiness,
            certificate,
            metrics: Arc::clone(metrics),
        };
        Self {
            probes: admin::router(state.clone(), View::Probes),
            everything: admin::router(state, View::Everything),
            metrics: Arc::clone(metrics),
        }
    }

    fn spawn(
        &self,
        supervisor: &mut Supervisor,
        name: &'static str,
        bound: Bound,
        opened: Opened,
    ) -> Result<(), Failure> {
        let socket = listen(bound, &format!("http, for {name}")).map_err(Failure::failed)?;
        let listener = Listener {
            socket,
            tls: None,
            limits: Limits::probes(),
            metrics: Arc::clone(&self.metrics),
        };
        let (probes, everything) = (self.probes.clone(), self.everything.clone());
        let view = move |peer: Peer| match View::opened(opened, peer.address, peer.local) {
            View::Probes => answer(probes.clone()),
            View::Everything => answer(everything.clone()),
        };
        supervisor.spawn(name, listener.serve(view, supervisor.cancel_token()));
        Ok(())
    }
}

/// Each source is a task of its own: none waits for another.
async fn spawn_sources(
    supervisor: &mut Supervisor,
    config: &ServerConfig,
    connector: Connector,
    updates: &mpsc::Sender<SourceUpdate>,
) {
    for source in config.backend_modes.iter().copied() {
        let (connector, updates, cancel) = (connector.clone(), updates.clone(), supervisor.cancel_token());
        let config_map = |name: &str, parse| Watched {
            namespace: NAMESPACE.to_owned(),
            name: name.to_owned(),
            source,
            parse,
        };
        let name = source.as_str();
        match source {
            SourceId::MountedFile => match config.config_file.clone() {
                Some(path) => {
                    let file = Followed {
                        path,
                        source,
                        parse: read_config_file,
                    };
                    supervisor.spawn(name, sources::file::run(file, updates, cancel));
                }
                // Nothing will ever be read, which is all there is to know. The queue is empty and its end is in our hands.
                None => drop(updates.send(SourceUpdate::Content(source, None)).await),
            },
            SourceId::AuthenticatorConfigMap => {
                let watched = config_map(AUTHENTICATOR_CONFIG_MAP, read_config_map);
                supervisor.spawn(name, sources::config_map::run(connector, watched, updates, cancel));
            }
            SourceId::EksConfigMap => {
                let watched = config_map(EKS_CONFIG_MAP, read_aws_auth);
                supervisor.spawn(name, sources::config_map::run(connector, watched, updates, cancel));
            }
            SourceId::Crd => supervisor.spawn(name, sources::crd::run(connector, updates, cancel)),
            // The configuration refuses it.
            SourceId::DynamicFile => tracing::error!("the backend {name} is not supported yet"),
        }
    }
}
