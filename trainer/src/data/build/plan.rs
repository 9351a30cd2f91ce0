//! Computes the index of a data set that does not fit in memory, as SQL steps for DataFusion. Each step writes a folder
//! of Parquet files, sorts and joins spill to disk, and an interrupted run continues after the last complete step. A
//! Ballista cluster runs the same steps.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use datafusion::arrow::array::{Array, Float64Array, Int64Array, RecordBatch, StringArray, UInt64Array};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::dataframe::DataFrameWriteOptions;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::prelude::{JsonReadOptions, ParquetReadOptions, SessionContext};
use futures_util::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use landfall_common::fs::write_atomic;
use landfall_model::LatLng;
use landfall_model::countries;
use sha2::{Digest, Sha256};
use tokio::runtime::Runtime;

use super::args::Args;
use super::collected::{empty_folder_message, folder_name, path_within};
use super::report::{GONE, IN_ONE_CELL, NO_PICTURE, NOWHERE, OF_ONE_COORDINATE, Report, TOO_NEAR, TOO_SMALL};
use super::row::Row;
use super::split::{DEV, Groups, HELD_OUT, PLACE_LEVEL, TRAIN};
use crate::io::interrupt;
use crate::io::tabular;

/// Computes the rows of the index, in the order of their file names.
///
/// # Errors
/// If a manifest cannot be read, the working folder cannot be written, or the engine fails.
pub(super) fn rows(args: &Args, work: &Path, report: &mut Report) -> Result<impl Iterator<Item = Result<Row>> + use<>> {
    interrupt::listen()?;
    let runtime = crate::data::engine::runtime()?;
    let context = runtime.block_on(args.engine.context())?;
    std::fs::create_dir_all(work).with_context(|| format!("cannot create {}", work.display()))?;
    let style = ProgressStyle::with_template("{spinner} {msg}, {elapsed}")?;
    let progress = ProgressBar::new_spinner().with_style(style);
    progress.enable_steady_tick(std::time::Duration::from_millis(200));
    let mut plan = Plan { runtime, context, work, key: String::new(), progress };

    plan.folders(args)?;
    let folders: Vec<String> =
        args.folders.iter().enumerate().map(|(i, folder)| folder_query(args, i, folder)).collect::<Result<_>>()?;
    plan.step(
        "rows",
        &format!("SELECT *, {why} AS why FROM ({})", folders.join(" UNION ALL "), why = exclusion_reason(args)),
    )?;
    for (i, folder) in args.folders.iter().enumerate() {
        if plan.count(&format!("SELECT count(*) FROM folder_{i}"))? == 0 {
            bail!(empty_folder_message(folder));
        }
    }
    report.found = plan.count("SELECT count(*) FROM rows")?;

    plan.group_names(args.cap_per_coordinate)?;
    plan.step("drawn", &drawn_query(args))?;
    plan.step("near", &near_query(args))?;
    for (table, reasons) in
        [("rows", &[GONE, NO_PICTURE, NOWHERE, TOO_SMALL][..]), ("drawn", &[OF_ONE_COORDINATE, IN_ONE_CELL])]
    {
        for why in reasons {
            plan.left_out(report, why, &format!("SELECT count(*) FROM {table} WHERE why = '{why}'"))?;
        }
    }
    plan.left_out(report, TOO_NEAR, "SELECT count(*) FROM near")?;

    plan.progress.set_message("writing the index");
    let stream = plan.stream(
        "SELECT d.* FROM drawn d LEFT ANTI JOIN near n ON d.file = n.file WHERE d.why IS NULL ORDER BY d.file",
    )?;
    let (runtime, progress) = (plan.runtime, plan.progress);
    let batches = Batches { runtime, stream };
    let rows = batches.flat_map(|batch| match batch.and_then(|batch| rows_of_batch(&batch)) {
        Ok(rows) => rows.into_iter().map(Ok).collect::<Vec<_>>(),
        Err(error) => vec![Err(error)],
    });
    Ok(rows.chain(std::iter::from_fn(move || {
        progress.finish_and_clear();
        None
    })))
}

struct Plan<'a> {
    runtime: Runtime,
    context: SessionContext,
    work: &'a Path,
    /// Hash of the inputs and of all steps so far. If it changes, the later steps run again.
    key: String,
    progress: ProgressBar,
}

impl Plan<'_> {
    /// Registers the manifests as tables `folder_0` and so on.
    fn folders(&mut self, args: &Args) -> Result<()> {
        let text = |name: &str| Field::new(name, DataType::Utf8, true);
        let number = |name: &str| Field::new(name, DataType::Float64, true);
        let pixels = |name: &str| Field::new(name, DataType::Int64, true);
        let texts = ["source", "id", "file", "iso2", "group", "licence", "attribution", "url", "status"];
        let fields = texts.map(text).into_iter().chain(["lat", "lng", "heading"].map(number));
        let schema = Schema::new(fields.chain(["width", "height"].map(pixels)).collect::<Vec<_>>());
        let options = JsonReadOptions { schema: Some(&schema), file_extension: ".jsonl", ..JsonReadOptions::default() };
        for (i, folder) in args.folders.iter().enumerate() {
            let manifest = std::path::absolute(folder)?.join("manifest.jsonl");
            let Ok(found) = std::fs::metadata(&manifest) else { bail!(empty_folder_message(folder)) };
            let changed = found.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
            self.key += &format!("{} {} {changed:?}\n", manifest.display(), found.len());
            let registered =
                self.context.register_json(format!("folder_{i}"), manifest.display().to_string(), options.clone());
            self.runtime.block_on(registered).with_context(|| format!("cannot read {}", manifest.display()))?;
        }
        Ok(())
    }

    /// Runs a step: writes the result of a query to the working folder, unless it exists, and registers it as a table.
    fn step(&mut self, name: &str, query: &str) -> Result<()> {
        let found = self.wait(async { self.context.sql(query).await })?;
        let schema = found.schema().as_arrow().clone();
        self.write_step(name, query, &schema, |plan, folder| {
            let folder = folder.display().to_string();
            plan.wait(async { found.write_parquet(&folder, DataFrameWriteOptions::default(), None).await })?;
            Ok(())
        })
    }

    /// Writes a folder of Parquet files with `write`, unless the same step has written it before, and registers it as a
    /// table. The folder is empty if the result is.
    fn write_step(
        &mut self,
        name: &str,
        query: &str,
        schema: &Schema,
        write: impl FnOnce(&Self, &Path) -> Result<()>,
    ) -> Result<()> {
        self.progress.set_message(format!("step {name}"));
        let digest = Sha256::digest(format!("{}{query}", self.key));
        self.key = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let (folder, done) = (std::path::absolute(self.work)?.join(name), self.work.join(format!("{name}.done")));
        if !std::fs::read_to_string(&done).is_ok_and(|key| key == self.key) {
            if folder.exists() {
                std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
            }
            std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
            write(self, &folder)?;
            write_atomic(&done, self.key.as_bytes())?;
        }
        let folder = folder.display().to_string();
        let registered = self.context.register_parquet(name, folder, ParquetReadOptions::default().schema(schema));
        self.runtime.block_on(registered).with_context(|| format!("cannot read the result of step {name}"))
    }

    /// Creates the table `names` with the merged names of groups that share a place. Only these groups are transferred
    /// to this machine.
    fn group_names(&mut self, cap: usize) -> Result<()> {
        let cap = if cap == 0 { String::new() } else { format!("count(*) <= {cap} AND") };
        let query = format!(
            r#"WITH shared AS (
                 SELECT place FROM rows WHERE why IS NULL AND place IS NOT NULL
                 GROUP BY place HAVING {cap} count(DISTINCT "group") > 1
               )
               SELECT DISTINCT r.place, r."group" FROM rows r JOIN shared s ON r.place = s.place WHERE r.why IS NULL"#
        );
        let text = |name: &str| Field::new(name, DataType::Utf8, false);
        let schema = Schema::new(vec![text("group"), text("name")]);
        self.write_step("names", &query, &schema, |plan, folder| {
            let mut groups = Groups::default();
            let mut stream = plan.stream(&query)?;
            while let Some(batch) = plan.wait(async { stream.next().await.transpose() })? {
                let (places, names) =
                    (column::<UInt64Array>(&batch, "place")?, column::<StringArray>(&batch, "group")?);
                for i in 0..batch.num_rows() {
                    groups.add(names.value(i).to_owned(), Some(places.value(i)));
                }
            }
            let mut table = tabular::Writer::create(&folder.join("names.parquet"), &["group", "name"], &[])?;
            for number in 0..groups.len() {
                table.push([groups.own_name(number).to_owned(), groups.name(number).to_owned()])?;
            }
            table.finish()
        })
    }

    fn left_out(&self, report: &mut Report, why: &'static str, query: &str) -> Result<()> {
        let count = self.count(query)?;
        if count > 0 {
            report.left_out.insert(why, count);
        }
        Ok(())
    }

    fn count(&self, query: &str) -> Result<usize> {
        let batches = self.wait(async { self.context.sql(query).await?.collect().await })?;
        let counts = batches.first().and_then(|batch| batch.column(0).as_any().downcast_ref::<Int64Array>());
        Ok(usize::try_from(counts.context("a count is not an integer")?.value(0))?)
    }

    fn stream(&self, query: &str) -> Result<SendableRecordBatchStream> {
        self.wait(async { self.context.sql(query).await?.execute_stream().await })
    }

    /// Blocks until the engine has finished or a signal was received.
    fn wait<T>(&self, work: impl Future<Output = datafusion::error::Result<T>>) -> Result<T> {
        self.runtime.block_on(async {
            tokio::select! {
                done = work => done.map_err(|error| anyhow::anyhow!("{}", error.strip_backtrace())),
                () = interrupt::wait() => Err(interrupt::stopped("stopped; run the same command again to continue")),
            }
        })
    }
}

/// Quotes a string for SQL.
fn sql_string(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Query for the images of a folder, with the columns that later steps need.
fn folder_query(args: &Args, i: usize, folder: &Path) -> Result<String> {
    let prefix = path_within(&args.images, folder)?.to_string_lossy().replace('\\', "/");
    let prefix = sql_string(&if prefix.is_empty() { prefix } else { format!("{prefix}/") });
    let set = sql_string(&format!("_{}", folder_name(folder)));
    Ok(format!(
        r#"SELECT
             source || {set} AS "set", {prefix} || file AS file, lat, longitude(lat, lng) AS lng,
             CASE WHEN lat IS NULL OR lng IS NULL THEN known_country(iso2) ELSE country_at(lat, lng) END AS iso2,
             CASE WHEN coalesce("group", '') = '' THEN source || ':' || id ELSE "group" END AS "group", heading,
             CASE WHEN coalesce(attribution, '') = '' THEN coalesce(url, '') ELSE attribution END AS source,
             coalesce(licence, '') AS licence, least(coalesce(width, 0), coalesce(height, 0)) AS side, coalesce(status, '') AS status,
             cell(lat, lng, {PLACE_LEVEL}) AS place, cell(lat, lng, {level}) AS cell
           FROM folder_{i}"#,
        level = args.cap_level
    ))
}

/// SQL expression for the reason why an image is excluded by itself; null if it is not.
fn exclusion_reason(args: &Args) -> String {
    format!(
        "CASE WHEN status = 'missing' THEN '{GONE}' WHEN status <> 'ok' THEN '{NO_PICTURE}'
              WHEN place IS NULL AND iso2 IS NULL THEN '{NOWHERE}' WHEN side < {} THEN '{TOO_SMALL}' END",
        args.min_side
    )
}

/// Query for merged group names, splits, and images above the caps per place and per cell.
fn drawn_query(args: &Args) -> String {
    let splits = &args.splits;
    let over = |cap: usize, nth: &str, key: &str| match cap {
        0 => "false".to_owned(),
        cap => format!("{key} IS NOT NULL AND {nth} > {cap}"),
    };
    format!(
        r#"WITH named AS (
             SELECT r.*, coalesce(n.name, r."group") AS name
             FROM rows r LEFT JOIN names n ON r."group" = n."group" WHERE r.why IS NULL
           ),
           held_out AS (
             SELECT DISTINCT name AS held FROM named
             WHERE chance({seed}, 'cell', token(lat, lng, {level})) < {held_out}
           ),
           of_place AS (
             SELECT *, row_number() OVER (PARTITION BY place ORDER BY encode(sha256(file), 'hex') {rows}) AS nth_of_place
             FROM named
           ),
           judged AS (SELECT *, {over_place} AS over_place FROM of_place),
           of_cell AS (
             SELECT *, row_number() OVER (PARTITION BY over_place, cell ORDER BY encode(sha256(file), 'hex') {rows}) AS nth_of_cell
             FROM judged
           )
           SELECT "set", file, lat, lng, iso2, name AS "group", heading, source, licence,
             CASE WHEN held IS NOT NULL THEN '{HELD_OUT}' WHEN chance({seed}, 'group', name) < {dev} THEN '{DEV}'
                  ELSE '{TRAIN}' END AS split,
             CASE WHEN over_place THEN '{OF_ONE_COORDINATE}' WHEN {over_cell} THEN '{IN_ONE_CELL}' END AS why
           FROM of_cell LEFT JOIN held_out ON name = held"#,
        // The default, RANGE, requires a numeric order.
        rows = "ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW",
        seed = splits.seed,
        level = splits.held_out_level,
        held_out = splits.held_out,
        dev = splits.dev,
        over_place = over(args.cap_per_coordinate, "nth_of_place", "place"),
        over_cell = over(args.cap_per_cell, "nth_of_cell", "cell"),
    )
}

/// Query for the files of images too near an evaluation image that must be independent of them. Such images are in the
/// cell of that image or in a neighbouring cell.
fn near_query(args: &Args) -> String {
    let apart = args.splits.apart;
    let level = crate::data::engine::level_at_least(apart);
    format!(
        "WITH measures AS (
           SELECT lat AS m_lat, lng AS m_lng, split AS m_split, unnest(around(lat, lng, {level})) AS m_cell
           FROM drawn WHERE why IS NULL AND split <> '{TRAIN}' AND lat IS NOT NULL
         ),
         others AS (
           SELECT file, lat, lng, split, cell(lat, lng, {level}) AS at_cell
           FROM drawn WHERE why IS NULL AND split <> '{HELD_OUT}' AND lat IS NOT NULL
         )
         SELECT DISTINCT file FROM others JOIN measures ON at_cell = m_cell
         WHERE (split = '{TRAIN}' OR m_split = '{HELD_OUT}') AND is_nearer(lat, lng, m_lat, m_lng, {apart:?})"
    )
}

/// Iterates over the batches of a stream on the calling thread.
struct Batches {
    runtime: Runtime,
    stream: SendableRecordBatchStream,
}

impl Iterator for Batches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.runtime.block_on(self.stream.next())?;
        Some(batch.map_err(|error| anyhow::anyhow!("{}", error.strip_backtrace())))
    }
}

fn column<'a, T: 'static>(batch: &'a RecordBatch, name: &str) -> Result<&'a T> {
    let column = batch.column_by_name(name).and_then(|column| column.as_any().downcast_ref());
    column.with_context(|| format!("the engine returned no column {name}, or one of an unexpected type"))
}

fn rows_of_batch(batch: &RecordBatch) -> Result<Vec<Row>> {
    let texts = |name| column::<StringArray>(batch, name);
    let numbers = |name| column::<Float64Array>(batch, name);
    let (set, file, iso2, group) = (texts("set")?, texts("file")?, texts("iso2")?, texts("group")?);
    let (source, licence, split) = (texts("source")?, texts("licence")?, texts("split")?);
    let (lat, lng, heading) = (numbers("lat")?, numbers("lng")?, numbers("heading")?);
    let number = |column: &Float64Array, i| column.is_valid(i).then(|| column.value(i));
    let row = |i: usize| {
        let place = number(lat, i).zip(number(lng, i)).map(|(lat, lng)| LatLng::new(lat, lng)).transpose()?;
        Ok(Row {
            set: set.value(i).into(),
            file: file.value(i).into(),
            at: place,
            country: iso2.is_valid(i).then(|| countries::by_code(iso2.value(i))).flatten(),
            group: group.value(i).into(),
            heading: number(heading, i),
            split: [TRAIN, DEV, HELD_OUT].into_iter().find(|known| *known == split.value(i)).unwrap_or_default(),
            source: source.value(i).into(),
            licence: Arc::from(licence.value(i)),
            side: 0, // already checked by the query
        })
    };
    (0..batch.num_rows()).map(row).collect()
}
