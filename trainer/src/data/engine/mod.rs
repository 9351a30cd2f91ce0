//! Work for more than one machine, or for more data than memory: DataFusion on this machine's disk, or on a cluster of
//! machines that run Ballista. The scheduler and the executors are this program too, because they must know the functions
//! that its plans use. Cargo feature `cluster`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use ballista::prelude::{SessionConfigExt, SessionContextExt};
use ballista_core::registry::BallistaFunctionRegistry;
use ballista_core::utils::default_session_builder;
use ballista_executor::executor_process::{ExecutorProcessConfig, start_executor_process};
use ballista_scheduler::cluster::BallistaCluster;
use ballista_scheduler::config::SchedulerConfig;
use ballista_scheduler::scheduler_process::start_server;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use landfall_common::exit::environment_error;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use url::Url;

mod functions;

use functions::all as functions;
pub(crate) use functions::level_at_least;

/// Where a plan is carried out.
#[derive(clap::Args)]
pub(crate) struct EngineArgs {
    /// Work on disk, in this folder, with as little memory as --memory says, for sets of a hundred million pictures; goes
    /// on where it was broken off. A cluster's machines must all have the folder, and the pictures', under the same path
    #[arg(long, requires = "trust")]
    pub(crate) work: Option<PathBuf>,
    /// GiB of memory for that
    #[arg(long, default_value_t = 4.0, requires = "work")]
    memory: f64,
    /// Scheduler of a cluster that does the work, as in df://10.0.0.1:50050 (see `cluster`)
    #[arg(long, requires = "work")]
    scheduler: Option<String>,
}

impl EngineArgs {
    /// A session on this machine, or on the cluster.
    ///
    /// # Errors
    /// When the scheduler does not answer or the engine cannot be set up.
    pub(crate) async fn context(&self) -> Result<SessionContext> {
        let config = SessionConfig::new();
        let context = match &self.scheduler {
            Some(scheduler) => {
                // The engine itself asks only once there is a plan, and then says less of what is wrong.
                let url = Url::parse(scheduler).with_context(|| format!("`{scheduler}` is no address"))?;
                let host = url.host_str().context("--scheduler must be df://HOST:PORT")?;
                TcpStream::connect((host, url.port().unwrap_or(50050))).await.map_err(|error| {
                    environment_error(format!("no scheduler at {scheduler}: {error}; start `cluster scheduler` there"))
                })?;
                let config = session_config(config.upgrade_for_ballista());
                let state = SessionStateBuilder::new().with_default_features().with_config(config).build();
                SessionContext::remote_with_state(scheduler, state).await?
            }
            None => {
                let bytes = (self.memory * f64::from(1 << 30)) as usize;
                let work = self.work.clone().unwrap_or_default().join("spilled");
                std::fs::create_dir_all(&work).with_context(|| format!("cannot create {}", work.display()))?;
                let environment = RuntimeEnvBuilder::new()
                    .with_memory_pool(Arc::new(FairSpillPool::new(bytes)))
                    .with_temp_file_path(work)
                    .build_arc()?;
                SessionContext::new_with_config_rt(session_config(config), environment)
            }
        };
        functions().into_iter().for_each(|function| context.register_udf(function));
        Ok(context)
    }
}

/// Joins that sort spill to disk, those that hash do not; and texts have one type.
fn session_config(config: SessionConfig) -> SessionConfig {
    config
        .set_bool("datafusion.optimizer.prefer_hash_join", false)
        .set_bool("datafusion.execution.parquet.schema_force_view_types", false)
}

/// Threads for an engine. Its plans are walked recursively.
///
/// # Errors
/// When the system gives none.
pub(crate) fn runtime() -> Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().thread_stack_size(32 << 20).build().context("cannot start threads")
}

/// Runs a machine of a cluster.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Divides the work; a cluster has one
    Scheduler {
        /// Address to listen at
        #[arg(long, default_value = "127.0.0.1:50050")]
        bind: SocketAddr,
        /// Name or address by which executors reach it [default: that of --bind]
        #[arg(long)]
        host: Option<String>,
    },
    /// Does the work; a cluster has many
    Executor {
        /// Where the scheduler listens
        #[arg(long, default_value = "127.0.0.1:50050")]
        scheduler: String,
        /// Address to listen at for other executors; for the scheduler it listens at the next port
        #[arg(long, default_value = "127.0.0.1:50051")]
        bind: SocketAddr,
        /// Name or address by which the others reach it [default: that of --bind]
        #[arg(long)]
        host: Option<String>,
        /// Folder for what is on its way between machines [default: one in the system's for temporary files]
        #[arg(long)]
        work: Option<PathBuf>,
        /// GiB of memory [default: 70 % of the machine's]
        #[arg(long)]
        memory: Option<f64>,
    },
}

/// Runs the command, until it is stopped.
///
/// # Errors
/// When its port is taken or the scheduler does not answer.
pub(crate) fn run(command: &Command) -> Result<()> {
    let failed = |what: &str, error: &dyn std::fmt::Display| environment_error(format!("{what}: {error}"));
    runtime()?.block_on(async {
        match command {
            Command::Scheduler { bind, host } => {
                let config = Arc::new(SchedulerConfig {
                    bind_host: bind.ip().to_string(),
                    bind_port: bind.port(),
                    external_host: host.clone().unwrap_or_else(|| bind.ip().to_string()),
                    override_session_builder: Some(Arc::new(|config| {
                        let state = default_session_builder(config)?;
                        let known: Vec<_> = state.scalar_functions().values().cloned().collect();
                        let ours = functions().into_iter().map(Arc::new);
                        Ok(SessionStateBuilder::new_from_existing(state)
                            .with_scalar_functions(known.into_iter().chain(ours).collect())
                            .build())
                    })),
                    ..SchedulerConfig::default()
                });
                let cluster = BallistaCluster::new_from_config(&config).await;
                let cluster = cluster.map_err(|error| failed("cannot set up the cluster", &error))?;
                eprintln!("scheduler at {bind}");
                let served = start_server(cluster, *bind, config).await;
                served.map_err(|error| failed(&format!("cannot listen at {bind}"), &error))
            }
            Command::Executor { scheduler, bind, host, work, memory } => {
                let (name, port) = scheduler.rsplit_once(':').context("--scheduler must be HOST:PORT")?;
                let mut registry = BallistaFunctionRegistry::default();
                for function in functions() {
                    registry.scalar_functions.insert(function.name().to_owned(), Arc::new(function));
                }
                let config = ExecutorProcessConfig {
                    bind_host: bind.ip().to_string(),
                    port: bind.port(),
                    grpc_port: bind.port().checked_add(1).context("--bind's port must have a next one")?,
                    external_host: Some(host.clone().unwrap_or_else(|| bind.ip().to_string())),
                    scheduler_host: name.into(),
                    scheduler_port: port.parse().context("--scheduler must be HOST:PORT")?,
                    scheduler_connect_timeout_seconds: 30,
                    work_dir: work.as_ref().map(|work| work.display().to_string()),
                    memory_pool_size: memory.map(|gib| (gib * f64::from(1 << 30)) as u64),
                    override_function_registry: Some(Arc::new(registry)),
                    ..ExecutorProcessConfig::default()
                };
                eprintln!("executor at {bind}, of the scheduler at {scheduler}");
                let ran = start_executor_process(Arc::new(config)).await;
                ran.map_err(|error| failed("the executor stopped", &error))
            }
        }
    })
}
