//! Query engine for data that exceeds memory or one machine: DataFusion on this machine, spilling to disk, or Ballista
//! on a cluster. The scheduler and the executors are this program too, because they need the SQL functions of its
//! plans. Requires the Cargo feature `cluster`.

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

/// Where a plan is executed.
#[derive(clap::Args)]
pub(crate) struct EngineArgs {
    /// Working directory on disk, for data sets larger than memory
    ///
    /// Intermediate results are stored here and memory use is limited by --memory, so that sets of a hundred million
    /// images can be processed. An interrupted run continues from them. On a cluster, this directory and those of the
    /// images must have the same path on all machines.
    #[arg(long, value_name = "DIR", requires = "trust", help_heading = "Performance")]
    pub(crate) work: Option<PathBuf>,
    /// Memory limit in GiB
    #[arg(long, value_name = "GIB", default_value_t = 4.0, requires = "work", help_heading = "Performance")]
    memory: f64,
    /// Run on the cluster with this scheduler, as in df://10.0.0.1:50050 (see `cluster`)
    #[arg(long, value_name = "URL", requires = "work", help_heading = "Network")]
    scheduler: Option<String>,
}

impl EngineArgs {
    /// Creates a session on this machine or on the cluster.
    ///
    /// # Errors
    /// If the scheduler cannot be reached or the engine cannot be set up.
    pub(crate) async fn context(&self) -> Result<SessionContext> {
        let config = SessionConfig::new();
        let context = match &self.scheduler {
            Some(scheduler) => {
                // Connect now: the engine connects only to run a plan, and its error is less specific.
                let url = Url::parse(scheduler).with_context(|| format!("`{scheduler}` is not a valid URL"))?;
                let host = url.host_str().context("--scheduler must be df://HOST:PORT")?;
                TcpStream::connect((host, url.port().unwrap_or(50050))).await.map_err(|error| {
                    let hint = "start `landfall-train cluster scheduler` there";
                    environment_error(format!("cannot connect to the scheduler at {scheduler}: {error}; {hint}"))
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

/// Prefers sort-merge joins, since hash joins cannot spill to disk, and uses one type for all strings.
fn session_config(config: SessionConfig) -> SessionConfig {
    config
        .set_bool("datafusion.optimizer.prefer_hash_join", false)
        .set_bool("datafusion.execution.parquet.schema_force_view_types", false)
}

/// Creates the runtime of the engine. Its threads have large stacks, because plans are traversed recursively.
///
/// # Errors
/// If the threads cannot be started.
pub(crate) fn runtime() -> Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().thread_stack_size(32 << 20).build().context("cannot start threads")
}

/// Run a machine of a cluster.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Run the scheduler, which distributes the work; a cluster has one
    Scheduler {
        /// Address to listen on
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:50050", help_heading = "Network")]
        bind: SocketAddr,
        /// Host name or address for connections from executors [default: that of --bind]
        #[arg(long, value_name = "HOST", help_heading = "Network")]
        host: Option<String>,
    },
    /// Run an executor, which does the work; a cluster has one or more
    Executor {
        /// Address of the scheduler
        #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:50050", help_heading = "Network")]
        scheduler: String,
        /// Address to listen on for other executors; the next port is used for the scheduler
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:50051", help_heading = "Network")]
        bind: SocketAddr,
        /// Host name or address for connections from the other machines [default: that of --bind]
        #[arg(long, value_name = "HOST", help_heading = "Network")]
        host: Option<String>,
        /// Directory for intermediate data [default: a temporary directory]
        #[arg(long, value_name = "DIR", help_heading = "Performance")]
        work: Option<PathBuf>,
        /// Memory limit in GiB [default: 70 % of the machine's memory]
        #[arg(long, value_name = "GIB", help_heading = "Performance")]
        memory: Option<f64>,
    },
}

/// Runs the command until it is stopped.
///
/// # Errors
/// If a port is in use or the scheduler cannot be reached.
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
                eprintln!("scheduler listening on {bind}");
                let served = start_server(cluster, *bind, config).await;
                served.map_err(|error| failed(&format!("cannot listen on {bind}"), &error))
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
                    grpc_port: bind.port().checked_add(1).context("the port of --bind must be below 65535")?,
                    external_host: Some(host.clone().unwrap_or_else(|| bind.ip().to_string())),
                    scheduler_host: name.into(),
                    scheduler_port: port.parse().context("--scheduler must be HOST:PORT")?,
                    scheduler_connect_timeout_seconds: 30,
                    work_dir: work.as_ref().map(|work| work.display().to_string()),
                    memory_pool_size: memory.map(|gib| (gib * f64::from(1 << 30)) as u64),
                    override_function_registry: Some(Arc::new(registry)),
                    ..ExecutorProcessConfig::default()
                };
                eprintln!("executor listening on {bind}, scheduler at {scheduler}");
                let ran = start_executor_process(Arc::new(config)).await;
                ran.map_err(|error| failed("the executor stopped", &error))
            }
        }
    })
}
