//! A bundle whose encoder sessions work for all requests.
//!
//! Squares of images wait in one queue, and each session takes the next one. So the sessions are busy while anything waits,
//! and a single image uses several of them. Squares are not put into one tensor: on a CPU that gains nothing, and the
//! numbers of one image would depend on the others.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, anyhow};
use landfall_model::{Bundle, Classifier, preprocess};
use tokio::sync::oneshot;

/// A preprocessed square, and where its embedding goes.
struct Job {
    tensor: Vec<f32>,
    reply: oneshot::Sender<landfall_model::Result<Vec<f32>>>,
}

pub(super) struct Pool {
    classifier: Arc<Classifier>,
    jobs: Sender<Job>,
}

impl Pool {
    /// Starts one thread per encoder session. They end with the pool.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub(super) fn start(classifier: Classifier) -> Result<Self> {
        let classifier = Arc::new(classifier);
        let (jobs, queue) = channel();
        let queue = Arc::new(Mutex::new(queue));
        for session in 0..classifier.encoder().workers() {
            let (classifier, queue) = (Arc::clone(&classifier), Arc::clone(&queue));
            let thread = std::thread::Builder::new().name(format!("encoder {session}"));
            thread.spawn(move || work(&classifier, session, &queue)).context("cannot start a thread")?;
        }
        Ok(Self { classifier, jobs })
    }

    pub(super) fn bundle(&self) -> &Bundle {
        &self.classifier.bundle
    }

    pub(super) fn classifier(&self) -> Arc<Classifier> {
        Arc::clone(&self.classifier)
    }

    pub(super) fn engine(&self) -> String {
        self.classifier.engine().to_string()
    }

    /// The logits of an image, from its squares as `Preprocess::tensors` gives them.
    ///
    /// # Errors
    /// When inference fails.
    pub(super) async fn logits(&self, squares: Vec<Vec<f32>>) -> Result<Vec<f32>> {
        let mut replies = Vec::with_capacity(squares.len());
        for tensor in squares {
            let (reply, embedded) = oneshot::channel();
            self.jobs.send(Job { tensor, reply }).map_err(|_| anyhow!("the encoder has stopped"))?;
            replies.push(embedded);
        }
        let mut embedding = Vec::new();
        for reply in replies {
            let mut part = reply.await.context("the encoder has stopped")??;
            preprocess::normalise(&mut part);
            embedding.extend(part);
        }
        let classifier = Arc::clone(&self.classifier);
        Ok(tokio::task::spawn_blocking(move || classifier.head(&embedding)).await??)
    }
}

fn work(classifier: &Classifier, session: usize, queue: &Mutex<Receiver<Job>>) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { tensor, reply }) = next else { return };
        // Nobody waits for the squares of a client that has gone.
        if !reply.is_closed() {
            _ = reply.send(classifier.encoder().embed_tensor(session, &tensor));
        }
    }
}
