//! Locating many pictures: decoding and encoding by the same threads, so that no core waits.
//!
//! Each thread encodes a picture that is ready, or prepares the next one if few are. Pictures are prepared in any order, but
//! which of them is a duplicate of which is decided in the order of paths, so that it does not depend on the number of
//! threads. Memory is bounded by the number of pictures between the two steps.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use landfall_common::exit::environment_error;
use landfall_model::preprocess;

use crate::photos::archive::answer::Answer;
use crate::photos::archive::manifest::{Index, Manifest, Record};
use crate::photos::archive::prepare::{Prepared, Unprepared, prepare};
use crate::photos::archive::similar::{BurstView, with_answer_of};
use crate::photos::archive::{ArchiveTask, Event};
use crate::photos::locate::{LocateOptions, of_logits};

/// Pictures per thread that wait for the encoder before the thread encodes one itself.
const READY_PER_THREAD: usize = 1;
/// Pictures per thread that are prepared or being prepared.
const PREPARED_PER_THREAD: usize = 4;

/// A picture for the encoder.
struct Job {
    /// Index among the pending pictures.
    index: usize,
    record: Record,
    tensors: Vec<Vec<f32>>,
}

/// What a thread does next.
enum Task {
    Prepare(usize),
    Encode(Box<Job>),
}

/// The picture whose answer another one gets.
#[derive(Clone, Copy)]
enum Leader {
    /// A pending picture, by index.
    Pending(usize),
    /// A line of the manifest, by offset.
    Written(u64),
}

/// The picture before the current one in the order of paths.
struct Previous {
    /// Index among all pictures.
    file: usize,
    view: BurstView,
    leader: Leader,
}

struct State<'a> {
    manifest: &'a mut Manifest,
    index: Index,
    next: usize,
    decided: usize,
    finished: usize,
    prepared: BTreeMap<usize, Result<Prepared, Unprepared>>,
    ready: VecDeque<Job>,
    /// Pictures that wait for the answer of a pending one.
    followers: HashMap<usize, Vec<Record>>,
    /// Offsets of the lines of pending pictures.
    written: Vec<Option<u64>>,
    /// Leaders by content. None of them follows another one.
    by_content: HashMap<String, Leader>,
    previous: Option<Previous>,
    error: Option<anyhow::Error>,
}

/// A run over the pictures that a manifest lacks.
pub(super) struct Pipeline<'a> {
    task: &'a ArchiveTask<'a>,
    /// Indices into the files of the task.
    pending: &'a [usize],
    state: Mutex<State<'a>>,
    changed: Condvar,
    on_event: &'a (dyn Fn(Event<'_>) + Sync),
}

impl<'a> Pipeline<'a> {
    pub(super) fn new(
        task: &'a ArchiveTask<'a>,
        pending: &'a [usize],
        manifest: &'a mut Manifest,
        index: Index,
        on_event: &'a (dyn Fn(Event<'_>) + Sync),
    ) -> Self {
        let state = State {
            manifest,
            index,
            next: 0,
            decided: 0,
            finished: 0,
            prepared: BTreeMap::new(),
            ready: VecDeque::new(),
            followers: HashMap::new(),
            written: vec![None; pending.len()],
            by_content: HashMap::new(),
            previous: None,
            error: None,
        };
        Self { task, pending, state: Mutex::new(state), changed: Condvar::new(), on_event }
    }

    /// Locates all pending pictures.
    ///
    /// # Errors
    /// When the encoder fails or the manifest cannot be written.
    pub(super) fn run(self) -> Result<()> {
        std::thread::scope(|scope| {
            for worker in 0..self.task.classifier.encoder().workers() {
                let this = &self;
                scope.spawn(move || this.work(worker));
            }
        });
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        state.manifest.sync()?;
        state.error.map_or(Ok(()), Err)
    }

    fn lock(&self) -> MutexGuard<'_, State<'a>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, worker: usize) {
        while let Some(task) = self.next_task() {
            // A panic would leave the other threads waiting for ever.
            let done = catch_unwind(AssertUnwindSafe(|| self.perform(worker, task)));
            let done = done.unwrap_or_else(|_| Err(environment_error("locating a picture failed unexpectedly")));
            if let Err(error) = done {
                self.lock().error.get_or_insert(error);
            }
            self.changed.notify_all();
        }
    }

    fn next_task(&self) -> Option<Task> {
        let threads = self.task.classifier.encoder().workers();
        let mut state = self.lock();
        loop {
            if state.error.is_some() || state.finished == self.pending.len() {
                return None;
            }
            let started = state.next - state.decided + state.ready.len();
            let may_prepare = state.next < self.pending.len() && started < PREPARED_PER_THREAD * threads;
            if may_prepare && state.ready.len() < READY_PER_THREAD * threads {
                state.next += 1;
                return Some(Task::Prepare(state.next - 1));
            }
            if let Some(job) = state.ready.pop_front() {
                return Some(Task::Encode(Box::new(job)));
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn perform(&self, worker: usize, task: Task) -> Result<()> {
        match task {
            Task::Prepare(index) => {
                let path = &self.task.files[self.pending[index]];
                let prepared = prepare(self.task.root, path, &self.task.classifier.bundle.manifest.preprocess);
                let mut state = self.lock();
                state.prepared.insert(index, prepared);
                while let Some(prepared) = {
                    let decided = state.decided;
                    state.prepared.remove(&decided)
                } {
                    let index = state.decided;
                    state.decided += 1;
                    self.decide(&mut state, index, prepared)?;
                }
                Ok(())
            }
            Task::Encode(job) => {
                let answer = self.answer(worker, &job)?;
                self.finish(*job, answer)
            }
        }
    }

    /// Decides whether a picture is answered itself, gets the answer of another one, or has none.
    fn decide(&self, state: &mut State<'_>, index: usize, prepared: Result<Prepared, Unprepared>) -> Result<()> {
        let Prepared { record, tensors, warning } = match prepared {
            Ok(prepared) => prepared,
            Err(unprepared) => {
                state.previous = None;
                if let Unprepared::Damaged(record) = &unprepared {
                    self.write(state, std::slice::from_ref(record))?;
                }
                state.finished += 1;
                (self.on_event)(match &unprepared {
                    Unprepared::Unreadable(message) => Event::Unreadable(message),
                    Unprepared::Damaged(record) => Event::Located(record),
                });
                return Ok(());
            }
        };
        if let Some(warning) = &warning {
            (self.on_event)(Event::Warning(warning));
        }
        let leader = self.leader(state, index, &record)?;
        let own = leader.unwrap_or(Leader::Pending(index));
        let file = self.pending[index];
        let is_of_burst = !self.task.priors.has_row(&record.path);
        let view = BurstView::of(&record).filter(|_| is_of_burst);
        state.previous = view.map(|view| Previous { file, view, leader: own });
        if let (true, Some(sha256)) = (is_of_burst, &record.sha256) {
            state.by_content.entry(sha256.clone()).or_insert(own);
        }
        match leader.map(|leader| state.resolve(leader)) {
            None => state.ready.push_back(Job { index, record, tensors }),
            Some(Leader::Pending(leader)) => state.followers.entry(leader).or_default().push(record),
            Some(Leader::Written(offset)) => {
                let answered = state.manifest.read_at(offset)?;
                let record = with_answer_of(record, &answered);
                state.written[index] = Some(self.write(state, std::slice::from_ref(&record))?);
                state.finished += 1;
                (self.on_event)(Event::Located(&record));
            }
        }
        Ok(())
    }

    /// The picture whose answer a picture gets, if it has the same content or belongs to the same burst.
    fn leader(&self, state: &State<'_>, index: usize, record: &Record) -> Result<Option<Leader>> {
        let has_row = |path: &str| self.task.priors.has_row(path);
        if has_row(&record.path) {
            return Ok(None);
        }
        if let Some(sha256) = &record.sha256 {
            if let Some(same) = state.by_content.get(sha256) {
                return Ok(Some(*same));
            }
            if let Some(offset) = state.index.by_content.get(sha256) {
                let same = state.manifest.read_at(*offset)?;
                if same.answer.is_some() && !has_row(&same.path) {
                    return Ok(Some(Leader::Written(*offset)));
                }
            }
        }
        let Some(view) = BurstView::of(record) else { return Ok(None) };
        let file = self.pending[index];
        if let Some(previous) = state.previous.as_ref().filter(|previous| previous.file + 1 == file) {
            return Ok(view.continues(&previous.view).then_some(previous.leader));
        }
        // The one before was answered by an earlier run.
        let before = file.checked_sub(1).map(|before| &self.task.files[before]);
        let Some(line) = before.and_then(|before| state.index.by_path.get(before)) else { return Ok(None) };
        let before = state.manifest.read_at(line.offset)?;
        let is_same = BurstView::of(&before).is_some_and(|before| view.continues(&before));
        Ok((is_same && before.answer.is_some() && !has_row(&before.path)).then_some(Leader::Written(line.offset)))
    }

    fn answer(&self, worker: usize, job: &Job) -> Result<Answer> {
        let ArchiveTask { classifier, priors, .. } = self.task;
        let mut embedding = Vec::new();
        for tensor in &job.tensors {
            let mut part = classifier.encoder().embed_tensor(worker, tensor)?;
            preprocess::normalise(&mut part);
            embedding.extend(part);
        }
        let logits = classifier.head(&embedding)?;
        let hinted = priors.cells(&job.record, &classifier.bundle.cells)?;
        let options = LocateOptions {
            prior: self.task.prior,
            hinted: hinted.as_deref(),
            top: self.task.top.max(1),
            ..LocateOptions::default()
        };
        let image = PathBuf::from(&job.record.path);
        Ok(Answer::new(of_logits(&classifier.bundle, image, &[logits], options)?))
    }

    /// Writes the answer of a picture and of those that get the same.
    fn finish(&self, job: Job, answer: Answer) -> Result<()> {
        let mut state = self.lock();
        let mut records = vec![Record { answer: Some(answer), ..job.record }];
        let followers = state.followers.remove(&job.index).unwrap_or_default();
        records.extend(followers.into_iter().map(|follower| with_answer_of(follower, &records[0])).collect::<Vec<_>>());
        let offset = self.write(&mut state, &records)?;
        state.written[job.index] = Some(offset);
        state.finished += records.len();
        drop(state);
        records.iter().for_each(|record| (self.on_event)(Event::Located(record)));
        Ok(())
    }

    /// Appends records and returns the offset of the first one.
    fn write(&self, state: &mut State<'_>, records: &[impl std::borrow::Borrow<Record>]) -> Result<u64> {
        let records: Vec<&Record> = records.iter().map(std::borrow::Borrow::borrow).collect();
        state.manifest.append(&records)
    }
}

impl State<'_> {
    /// Where the answer of a leader is now. The leader of a follower is never a follower itself.
    fn resolve(&self, leader: Leader) -> Leader {
        match leader {
            Leader::Pending(index) => self.written[index].map_or(leader, Leader::Written),
            Leader::Written(_) => leader,
        }
    }
}
